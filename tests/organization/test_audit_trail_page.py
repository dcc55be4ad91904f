"""The audit trail's page: who may open it, what it says, how it is narrowed and paged."""

from __future__ import annotations

import html
from typing import Any

import pytest
from django.test import Client

from organization import audit
from organization.audit_views import PAGE
from organization.models import App, AuditEvent, Member, Stage
from organization.services import save_in_organization
from tests.conftest import OPERATOR, configure

URL = "/management/view/audit-trail/"
SECRET = "canary-of-the-audit-trail"


def entries(client: Client, **asked: object) -> list[str]:
    return [event.entity_name for event, _ in client.get(URL, asked).context["rows"]]


def test_only_who_manages_the_organization_opens_it(as_administrator: Client, as_developer: Client) -> None:
    page = as_administrator.get(URL)
    assert "Nothing yet" in page.content.decode()
    assert URL in as_administrator.get("/management/configure/emails/").content.decode()
    assert as_developer.get(URL).status_code == 403
    assert URL not in as_developer.get("/management/configure/emails/").content.decode()
    assert as_administrator.post(URL).status_code == 405


def test_an_act_stands_there_with_who_where_and_what_it_changed(
    as_administrator: Client, administrator: Member, qa: Stage
) -> None:
    configure(qa, authentication="basic", username="portal", new_secret=SECRET)
    qa.name = "Quality <b>"
    save_in_organization(qa, administrator)
    page = html.unescape(as_administrator.get(URL).content.decode())
    assert "Update stage" in page
    assert "Ada Admin <ada.admin@acme.example>" in page
    assert "QA → Quality <b>" in page
    assert "Quality <b>" not in as_administrator.get(URL).content.decode()
    assert "Create SMTP settings" in page
    assert "••••••••" in page
    assert SECRET not in page


def test_it_is_narrowed_by_member_app_and_stage(
    as_administrator: Client, administrator: Member, crm: App, shop: App, qa: Stage, production: Stage
) -> None:
    for actor, subject in ((administrator, crm), (OPERATOR, shop), (administrator, qa), (OPERATOR, production)):
        audit.record(actor, "Update", subject)
    assert entries(as_administrator) == ["Production", "QA", "Web Shop", "Customer Relations"]
    assert entries(as_administrator, member="ADA.ADMIN@acme.example") == ["QA", "Customer Relations"]
    assert entries(as_administrator, app="shop") == ["Web Shop"]
    assert entries(as_administrator, stage="qa", member="ada.admin@acme.example") == ["QA"]


@pytest.mark.parametrize("asked", [{"member": "nobody@acme.example"}, {"app": "nowhere"}, {"stage": "\0"}, {"member": "x" * 999}])
def test_what_matches_nothing_is_said_and_can_be_reset(as_administrator: Client, crm: App, asked: dict[str, str]) -> None:
    audit.record(OPERATOR, "Update", crm)
    answer = as_administrator.get(URL, asked)
    assert answer.status_code == 200
    assert "No entry matches" in answer.content.decode()


@pytest.mark.parametrize("before", ["x", "-1", "9" * 40, "²"])
def test_a_place_that_is_none_shows_the_newest(as_administrator: Client, crm: App, before: str) -> None:
    audit.record(OPERATOR, "Update", crm)
    assert entries(as_administrator, before=before) == ["Customer Relations"]


def test_it_is_paged_by_number_with_the_same_queries_for_any_length(
    as_administrator: Client, crm: App, qa: Stage, django_assert_max_num_queries: Any
) -> None:
    for _ in range(PAGE + 2):
        audit.record(OPERATOR, "Update", crm)
    with django_assert_max_num_queries(9):
        first = as_administrator.get(URL, {"app": "crm"})
    assert len(first.context["rows"]) == PAGE
    assert first.context["newer_url"] == ""
    second = as_administrator.get(URL + first.context["older_url"])
    assert [event.pk for event, _ in second.context["rows"]] == sorted(AuditEvent.objects.values_list("pk", flat=True))[1::-1]
    assert second.context["older_url"] == ""
    assert second.context["newer_url"] == "?app=crm"
