"""A forgotten password: the same answer for every address, and an email for those who have one to forget."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.invitations.services import invite
from accounts.links import AccountLink
from accounts.passwords import reset
from accounts.passwords.reset import ResetRequest
from organization.models import AuditEvent, Member, Stage
from outbox.models import Message
from portal.housekeeping import run_job
from tests.support.accounts import CHOSEN, emailed_path, own_messages
from tests.support.pages import words
from tests.support.portal import OPERATOR, make_member, signed_in

PAGE = "/accounts/password-reset/"
# What differs between two runs of the same statement.
VALUES = re.compile(r"'[^']*'|\"s\d+_x\d+\"|\d+")


def ask(address: str, client: Client | None = None) -> str:
    answer = (client or Client()).post(PAGE, {"email": address})
    assert answer.status_code == 200
    return words(answer)


def answer_requests() -> None:
    run_job("own-mail")


def test_from_the_sign_in_page_to_a_new_password(portal_stage: Stage, viewer: Member) -> None:
    assert f'href="{PAGE}"' in words(Client().get("/accounts/login/"))
    elsewhere = signed_in(viewer)
    assert "is on its way" in ask("VERA.viewer@acme.example")
    assert not Message.objects.exists()  # the page writes no email
    answer_requests()
    assert len(own_messages(viewer)) == 1
    assert elsewhere.get("/apps/").status_code == 200  # who only asked has changed nothing
    assert Client().post(emailed_path(viewer), CHOSEN)["Location"] == "/accounts/login/"
    assert elsewhere.get("/apps/").status_code == 302
    events = AuditEvent.objects.filter(entity="member").order_by("pk").values_list("operation", "actor_name")
    assert list(events) == [
        ("Request password reset", "a visitor (sign-in page)"),
        ("Reset password", "Vera Viewer <vera.viewer@acme.example>"),
    ]


def test_the_page_does_the_same_for_every_address(portal_stage: Stage, viewer: Member) -> None:
    """The same statements, so that no clock tells the difference; and the same words."""
    make_member("Gone", is_active=False)
    invite(Member(email="ivo@acme.example", name="Ivo"), OPERATOR)
    ask("first@acme.example")  # what is read once, and counted for the first time
    seen = set()
    for address in ("vera.viewer@acme.example", "gone@acme.example", "ivo@acme.example", "nobody@acme.example"):
        client = Client()
        client.get(PAGE)
        with CaptureQueriesContext(connection) as asked:
            page = ask(address, client)
        statements = "\n".join(VALUES.sub("…", query["sql"]) for query in asked)
        seen.add((statements, page.replace(address, "…")))
    assert len({statements for statements, _ in seen}) == 1
    assert len({page for _, page in seen}) == 1


def test_only_members_with_a_password_get_an_email(portal_stage: Stage, viewer: Member) -> None:
    gone = make_member("Gone", is_active=False)
    invited = invite(Member(email="ivo@acme.example", name="Ivo"), OPERATOR).member
    for member in (viewer, gone, invited):
        ask(member.email)
    ask("nobody@acme.example")
    assert ResetRequest.objects.count() == 4
    answer_requests()
    assert [len(own_messages(member)) for member in (viewer, gone, invited)] == [1, 0, 1]  # Ivo's is his invitation
    assert not ResetRequest.objects.exists()


def test_asking_again_and_again_sends_one_email_in_five_minutes(portal_stage: Stage, viewer: Member) -> None:
    for _ in range(3):
        ask(viewer.email)
        answer_requests()
    assert len(own_messages(viewer)) == 1
    AccountLink.objects.update(created=timezone.now() - timedelta(minutes=6))
    first = emailed_path(viewer)
    ask(viewer.email)
    answer_requests()
    assert len(own_messages(viewer)) == 2
    assert Client().get(first).status_code == 410


def test_who_asks_too_often_has_to_wait(portal_stage: Stage, viewer: Member) -> None:
    for _ in range(5):
        ask(viewer.email)
    answer = Client().post(PAGE, {"email": viewer.email})
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0


def test_what_nobody_answers_does_not_grow_without_end(portal_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reset, "WAITING_AT_MOST", 2)
    for number in range(4):
        assert "is on its way" in ask(f"nobody{number}@acme.example")
    assert ResetRequest.objects.count() == 2


@pytest.mark.parametrize("bad", ["", "rubbish", "a\r\nb@acme.example", "x" * 300 + "@acme.example"])
def test_what_is_no_address_is_answered_422(portal_stage: Stage, bad: str) -> None:
    answer = Client().post(PAGE, {"email": bad})
    assert (answer.status_code, set(answer.context["form"].errors)) == (422, {"email"})


def test_without_a_stage_for_it_the_pages_say_whom_to_ask(viewer: Member, settings: Settings) -> None:
    assert settings.PORTAL_STAGE == ""
    assert "Ask an administrator of your organization for a link" in words(Client().get("/accounts/login/"))
    for answer in (Client().get(PAGE), Client().post(PAGE, {"email": viewer.email})):
        assert "Ask an administrator" in words(answer)
    assert not ResetRequest.objects.exists()


def test_requests_end_where_no_email_can_be_sent_any_more(portal_stage: Stage, viewer: Member, settings: Settings) -> None:
    ask(viewer.email)
    settings.PORTAL_STAGE = ""
    answer_requests()
    assert not ResetRequest.objects.exists()
    assert not AccountLink.objects.exists()
