"""Django admin asks for what the pages ask for, and writes what they write."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from organization.models import App, AuditEvent, Member, Stage
from testlists.models import TestList
from tests.support.portal import signed_in
from tests.support.testlists import keep_list


def test_the_password_is_changed_on_the_portals_page(as_administrator: Client) -> None:
    assert as_administrator.get("/admin/password_change/")["Location"] == "/accounts/password/"
    assert as_administrator.post("/admin/password_change/")["Location"] == "/accounts/password/"


@pytest.mark.parametrize(("typed", "archived"), [("", False), ("production", False), ("Production", True)])
def test_a_production_stage_is_archived_by_its_name(
    as_administrator: Client, production: Stage, typed: str, archived: bool
) -> None:
    url = f"/admin/organization/stage/{production.pk}/change/"
    values = {"name": "Production", "order": 3, "kind": "non_production", "archived": "on", "version": 0, "confirmation": typed}
    answer = as_administrator.post(url, values)
    assert answer.status_code == (302 if archived else 200)
    assert archived or set(answer.context["adminform"].form.errors) == {"confirmation"}
    assert Stage.objects.get().archived is archived


def test_other_stages_are_archived_without_a_name(as_administrator: Client, qa: Stage, production: Stage) -> None:
    values = {"name": "QA", "order": 2, "kind": "non_production", "archived": "on", "version": 0}
    assert as_administrator.post(f"/admin/organization/stage/{qa.pk}/change/", values).status_code == 302
    assert Stage.objects.get(key="qa").archived


def test_an_app_is_archived_by_its_name_where_there_is_a_production_stage(
    as_administrator: Client, crm: App, shop: App, qa: Stage
) -> None:
    def archive(app: App, typed: str = "") -> bool:
        values = {"name": app.name, "colour": "teal", "archived": "on", "version": 1, "confirmation": typed}
        assert as_administrator.post(f"/admin/organization/app/{app.pk}/change/", values).status_code in (200, 302)
        return App.objects.get(pk=app.pk).archived

    assert archive(shop)
    Stage.objects.create(key="production", name="Production", kind=Stage.Kind.PRODUCTION)
    assert not archive(crm)
    assert archive(crm, "Customer Relations")


@pytest.mark.parametrize(("typed", "active"), [("", False), ("production", False), ("Production", True)])
def test_a_list_is_activated_in_production_by_the_stages_name(
    as_administrator: Client, crm: App, production: Stage, typed: str, active: bool
) -> None:
    test_list = keep_list(crm, production, "ana@example.com")
    values = {"version": test_list.version, "people": "ana@example.com", "active": "on", "stage_name": typed}
    answer = as_administrator.post(f"/admin/testlists/testlist/{test_list.pk}/change/", values)
    assert answer.status_code == (302 if active else 200)
    assert active or set(answer.context["adminform"].form.errors) == {"stage_name"}
    assert TestList.objects.get().active is active


def test_an_active_list_in_production_is_edited_without_the_name(as_administrator: Client, crm: App, production: Stage) -> None:
    test_list = keep_list(crm, production, "ana@example.com", active=True)
    values: dict[str, Any] = {"version": test_list.version, "people": "bob@example.com", "active": "on"}
    assert as_administrator.post(f"/admin/testlists/testlist/{test_list.pk}/change/", values).status_code == 302


def test_a_member_is_created_by_who_manages_the_organization(viewer: Member) -> None:
    Member.objects.filter(pk=viewer.pk).update(is_staff=True)
    client = signed_in(viewer)
    values = {"email": "mia@acme.example", "name": "Mia", "is_active": "on", "theme": "system", "time_zone": "UTC"}
    assert client.post("/admin/organization/member/add/", values).status_code == 403
    assert client.get("/admin/organization/auditevent/").status_code == 403
    assert not AuditEvent.objects.exists()
