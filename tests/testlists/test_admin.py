"""Test lists in Django admin: saved through the service, with its rules and permissions."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from common.addresses import NamedAddress
from organization.models import App, AuditEvent, Member, Stage
from testlists.models import TestList
from testlists.services import ListChange, save_test_list, test_list_of
from testlists.signals import count_in_flight
from tests.support.portal import OPERATOR, signed_in
from tests.support.testlists import keep_list, numbered, on_list


def admin_url(test_list: TestList) -> str:
    return f"/admin/testlists/testlist/{test_list.pk}/change/"


def post(client: Client, test_list: TestList, **values: Any) -> Any:
    return client.post(admin_url(test_list), {"version": test_list.version, **values})


def test_admin_saves_through_the_service(
    as_administrator: Client, ana_and_bob: TestList, viewer: Member, crm: App, qa: Stage
) -> None:
    lines = f"{viewer.email}\r\n\r\nCarl <carl@EXAMPLE.com>\r\n"
    assert post(as_administrator, ana_and_bob, people=lines, active="on").status_code == 302
    test_list = test_list_of(crm, qa)
    assert test_list.active
    assert [str(person) for person in test_list.people()] == ["Vera Viewer <vera.viewer@acme.example>", "Carl <carl@example.com>"]
    assert AuditEvent.objects.latest("pk").after["active"] is True


def test_what_admin_shows_can_be_saved_as_it_is(as_administrator: Client, viewer: Member, crm: App, qa: Stage) -> None:
    Member.objects.filter(pk=viewer.pk).update(name='Viewer, Vera "V"')
    people = [
        NamedAddress("ana@example.com", "Silva, Ana"),
        NamedAddress("j@example.com", "José 👩‍💻"),
        NamedAddress("x@example.com", "a;b<c>"),
    ]
    test_list = save_test_list(crm, qa, ListChange(False, False, [viewer], people), OPERATOR)
    before = test_list.people()
    shown = as_administrator.get(admin_url(test_list)).context["adminform"].form["people"].value()
    answer = post(as_administrator, test_list, people=shown)
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    assert test_list_of(crm, qa).people() == before
    assert test_list_of(crm, qa).addresses.filter(member=viewer).exists()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"people": "", "active": "on"}, "active"),
        ({"people": "rubbish"}, "people"),
        ({"people": "ana@example.com\nana@EXAMPLE.com"}, "people"),
        ({"people": "\n".join(numbered(101))}, "people"),
        ({"people": "ana@example.com", "version": ""}, "version"),
    ],
)
def test_what_admin_refuses_is_told_at_its_field(
    as_administrator: Client, ana_and_bob: TestList, crm: App, qa: Stage, values: dict[str, str], field: str
) -> None:
    answer = post(as_administrator, ana_and_bob, **values)
    assert field in answer.context["adminform"].form.errors
    assert on_list(crm, qa) == ["ana@example.com", "bob@example.com"]


def test_admin_asks_about_a_domain_without_a_dot(as_administrator: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    lines = "ana@example.com\nroot@localhost"
    answer = post(as_administrator, ana_and_bob, people=lines)
    assert "root@localhost" in answer.context["adminform"].form.errors["people"][0]
    assert post(as_administrator, ana_and_bob, people=lines, complete="on").status_code == 302
    assert [person.email for person in test_list_of(crm, qa).people()] == ["ana@example.com", "root@localhost"]
    assert post(as_administrator, test_list_of(crm, qa), people=lines).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_admin_waits_for_what_is_leaving_after_its_transaction(as_administrator: Client, ana_and_bob: TestList) -> None:
    """Inside it workers would wait for the admin, and the admin for them."""
    inside: list[bool] = []

    def count(**_: Any) -> int:
        inside.append(connection.in_atomic_block)
        return 0

    count_in_flight.connect(count)
    assert post(as_administrator, ana_and_bob, people="ana@example.com", active="on").status_code == 302
    assert inside == [False]


def test_a_stale_save_in_admin_is_refused(as_administrator: Client, ana_and_bob: TestList, crm: App, qa: Stage) -> None:
    keep_list(crm, qa, "carl@example.com", active=True)
    answer = as_administrator.post(admin_url(ana_and_bob), {"version": 1, "people": "eve@example.com"}, follow=True)
    assert "saved a change after you opened this page" in answer.content.decode()
    assert on_list(crm, qa) == ["carl@example.com"]


def test_admin_asks_for_the_same_permission(developer: Member, ana_and_bob: TestList, shop: App, qa: Stage, crm: App) -> None:
    Member.objects.update(is_staff=True)
    client = signed_in(developer)
    other = keep_list(shop, qa, "ana@example.com")
    assert post(client, ana_and_bob, people="eve@example.com").status_code == 302
    assert post(client, other, people="eve@example.com").status_code == 403
    assert client.get(admin_url(other)).status_code == 403  # whole addresses, of an app whose recipients they may not see
    assert (on_list(crm, qa), on_list(shop, qa)) == (["eve@example.com"], ["ana@example.com"])


def test_admin_neither_adds_nor_deletes_lists(as_administrator: Client, ana_and_bob: TestList) -> None:
    assert as_administrator.post("/admin/testlists/testlist/add/").status_code == 403
    assert as_administrator.post(f"/admin/testlists/testlist/{ana_and_bob.pk}/delete/", {"post": "yes"}).status_code == 403
