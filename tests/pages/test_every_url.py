"""Every URL answers the people whom tests/support/who_may.py names, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from organization.models import Member, Role, Stage
from organization.permissions import Permission
from tests.support import who_may
from tests.support.portal import make_member, signed_in
from tests.support.urls import address_of
from tests.support.who_may import TABLE

pytestmark = pytest.mark.same_on_both

Sessions = dict[str, str]
ORGANIZATION = [permission for permission in Permission if permission.counts_only_everywhere]


def routes(resolver: URLResolver | None = None, above: str = "") -> Iterator[str]:
    for pattern in (resolver or get_resolver()).url_patterns:
        route = f"{above}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            yield route
        else:
            yield from routes(pattern, route)


def test_every_url_has_its_row() -> None:
    assert set(routes()) == set(TABLE)


@pytest.fixture
def people(everything: Member, developer: Member, viewer: Member, qa: Stage) -> Sessions:
    """A session of each, by what they are called in the table."""
    of_qa = Role.objects.create(
        name="All of QA", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value, *map(str, ORGANIZATION)]
    )
    of_qa.stages.add(qa)
    of_people = [Permission.VIEW_MEMBERS, Permission.MANAGE_MEMBERS, Permission.MANAGE_ROLES]
    people_manager = Role.objects.create(name="People", permissions=list(map(str, of_people)))
    members = {
        who_may.DEACTIVATED: make_member("Gone", Role.objects.get(name="Administrator"), is_staff=True),
        who_may.NO_ROLE: make_member("Nora"),
        who_may.VIEWER: viewer,
        who_may.DEVELOPER: developer,
        who_may.STAFF_NO_ROLE: make_member("Stan", is_staff=True),
        who_may.QA_STAFF: make_member("Quinn", of_qa, is_staff=True),
        who_may.PEOPLE_MANAGER: make_member("Pia", people_manager),
        who_may.ADMINISTRATOR: everything,
        who_may.SUPERUSER: Member.objects.create_superuser("root@acme.example", "correct-horse-battery", name="Root"),
    }
    sessions = {name: signed_in(member).cookies["sessionid"].value for name, member in members.items()}
    Member.objects.filter(name="Gone").update(is_active=False)
    return {who_may.ANONYMOUS: "", **sessions}


def ask(client: Client, method: str, address: str, session: str) -> HttpResponse:
    """A request whose changes are taken back, so that the next one meets the same portal."""
    client.cookies.clear()
    if session:
        client.cookies["sessionid"] = session
    with transaction.atomic():
        answer = getattr(client, method)(address)
        transaction.set_rollback(True)
    return answer  # type: ignore[no-any-return]


def in_words(answer: HttpResponse) -> str:
    if answer.status_code == 302 and "/login/?next=" in answer["Location"]:
        return "sign in"
    if answer.status_code in (403, 405):
        return {403: "forbidden", 405: "not allowed"}[answer.status_code]
    return "open" if answer.status_code < 500 or "worker" in str(answer.content) else f"error {answer.status_code}"


def expected(route: str, method: str, person: str) -> str:
    answered: who_may.People = getattr(TABLE[route], method)
    anonymous, public = person not in who_may.MEMBERS, who_may.ANONYMOUS in TABLE[route].get
    if person in answered:
        return "open"
    if not public and (anonymous or (route.startswith("admin/") and person not in who_may.STAFF)):
        return "sign in"
    models_page = route.startswith(tuple(f"admin/{path}/" for path in who_may.ADMIN))  # Django admin knows no 405
    forbidden = models_page or (answered and route != who_may.SIGN_OUT)
    return "forbidden" if forbidden else "not allowed"


# A method that no page has: what matters is who is signed in and may do anything at all.
SOME = (who_may.ANONYMOUS, who_may.NO_ROLE, who_may.STAFF_NO_ROLE, who_may.ADMINISTRATOR)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("method", "asking"), [("get", who_may.PEOPLE), ("post", who_may.PEOPLE), ("delete", SOME)])
def test_every_url_answers_whom_the_table_names(people: Sessions, method: str, asking: Sequence[str]) -> None:
    wrong, client = [], Client()  # one for all: each loads the middleware
    for route in TABLE:
        address = address_of(route)
        for person in asking:
            said, right = in_words(ask(client, method, address, people[person])), expected(route, method, person)
            if said != right:
                wrong.append(f"{method.upper()} {address} by {person}: {said}, not {right}")
    assert not wrong, "\n".join(wrong)
