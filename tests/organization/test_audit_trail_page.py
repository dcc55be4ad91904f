"""The audit trail's page: who may open it, what it says, how it is narrowed and paged."""

from __future__ import annotations

import csv
import html
import io
import zoneinfo
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from organization import audit
from organization.audit import export
from organization.audit.changes import changes_of
from organization.keyset import PAGE
from organization.models import App, AuditEvent, Member, Stage
from organization.services import save_in_organization
from tests.support.portal import OPERATOR, configure

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


def test_an_entry_says_who_changed_what_and_where(as_administrator: Client, administrator: Member, qa: Stage) -> None:
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
    assert entries(as_administrator, app="shop") == entries(as_administrator, app="web sh") == ["Web Shop"]
    assert entries(as_administrator, app="no such app") == []
    assert entries(as_administrator, stage="qa", member="ada.admin@acme.example") == ["QA"]


def test_apps_are_proposed_for_what_is_typed(as_administrator: Client, crm: App, shop: App) -> None:
    """The page itself names none of them: there may be thousands."""
    audit.record(OPERATOR, "Update", crm)
    assert "Web Shop" not in as_administrator.get(URL).content.decode()
    proposed = as_administrator.get(f"{URL}apps/", {"app": "web"}).content.decode()
    assert 'value="shop"' in proposed
    assert "crm" not in proposed


def aged(subject: Model, operation: str, **age: float) -> None:
    with time_machine.travel(timezone.now() - timedelta(**age), tick=False):
        audit.record(OPERATOR, operation, subject)


def test_it_is_narrowed_by_operation_and_time(as_administrator: Client, administrator: Member, crm: App, qa: Stage) -> None:
    for subject, operation, days in ((crm, "Create", 40.0), (qa, "Update", 8.0), (crm, "Update", 6.0), (qa, "Test", 0.5)):
        aged(subject, operation, days=days)
    assert entries(as_administrator, operation="Update") == ["Customer Relations", "QA"]
    assert entries(as_administrator, range="7d") == ["QA", "Customer Relations"]
    assert entries(as_administrator, range="7d", operation="Update") == ["Customer Relations"]
    assert entries(as_administrator, range="1h") == []
    administrator.time_zone = "Asia/Tokyo"
    administrator.save()
    tokyo = zoneinfo.ZoneInfo("Asia/Tokyo")
    start, end = (f"{timezone.localtime(timezone.now() - timedelta(days=days), tokyo):%Y-%m-%dT%H:%M}" for days in (9, 7))
    assert entries(as_administrator, range="custom", start=start, end=end) == ["QA"]
    assert entries(as_administrator, range="custom", start=start) == ["QA", "Customer Relations", "QA"]
    assert entries(as_administrator, range="custom", end=end) == ["QA", "Customer Relations"]
    assert len(entries(as_administrator, start=start, end=end)) == 4
    page = as_administrator.get(URL, {"operation": "Revoke"}).content.decode()
    assert '<option value="Revoke" selected>' in page
    assert '<option value="Test">' in page


def test_acts_that_are_written_a_little_out_of_order_are_found(as_administrator: Client, crm: App) -> None:
    for operation, minutes in zip(
        ("Create", "Update", "Test", "Retry", "Cancel", "Revoke"), (62, 58, 63, 57, 61, 59), strict=True
    ):
        aged(crm, operation, minutes=minutes)
    rows = as_administrator.get(URL, {"since": "1h"}).context["rows"]
    assert [event.operation for event, _ in rows] == ["Revoke", "Retry", "Update"]
    end = f"{timezone.now() - timedelta(minutes=60):%Y-%m-%dT%H:%M:%S}"
    rows = as_administrator.get(URL, {"since": "custom", "end": end}).context["rows"]
    assert [event.operation for event, _ in rows] == ["Cancel", "Test", "Create"]


def test_it_is_narrowed_by_the_menus_and_by_words(
    as_administrator: Client, administrator: Member, crm: App, shop: App, qa: Stage
) -> None:
    audit.record(administrator, "Update", crm)
    audit.record(OPERATOR, "Update", shop)
    audit.record(OPERATOR, "Test", qa, status=AuditEvent.Status.FAILED, after={"step": "AUTH", "reason": "Wrong password."})
    assert entries(as_administrator, member=str(administrator)) == ["Customer Relations"]
    assert entries(as_administrator, entity="app") == ["Web Shop", "Customer Relations"]
    assert entries(as_administrator, status="failed") == ["QA"]
    assert entries(as_administrator, words="SHOP") == ["Web Shop"]
    assert entries(as_administrator, words="%") == []
    page = html.unescape(as_administrator.get(URL).content.decode())
    assert f'<option value="{administrator}">' in page
    assert "Wrong password." in page


def test_changes_are_told_in_words_of_the_form(qa: Stage, administrator: Member) -> None:
    end = timezone.now().replace(year=2040, month=3, day=1, hour=9, minute=30)
    before = {
        "kind": "non_production",
        "policy_until": None,
        "version": 3,
        "addresses": ["Ana <a@x.org>", "Bob <b@x.org>"],
    }
    after = {
        "kind": "production",
        "policy_until": end.isoformat(),
        "version": 4,
        "addresses": ["Bob <b@x.org>", "c@x.org"],
    }
    event = audit.record(administrator, "Update", qa, before=before, after=after)
    assert [str(change) for change in changes_of(event, sees_addresses=True, zone=zoneinfo.ZoneInfo("Asia/Tokyo"))] == [
        "Addresses: added: c@x.org; removed: Ana <a@x.org>",
        "Type: Non-production → Production",
        "Policy until: – → 2040-03-01 18:30 JST",
    ]


def test_the_settings_lead_to_what_happened_to_them(as_administrator: Client, as_developer: Client, qa: Stage) -> None:
    configure(qa)
    view = f"/management/configure/emails/{qa.key}/"
    link = f"{URL}?entity=SMTP+settings&stage=qa"
    assert link in html.unescape(as_administrator.get(view).content.decode())
    assert link not in html.unescape(as_developer.get(view).content.decode())
    assert [event.entity for event, _ in as_administrator.get(link).context["rows"]] == ["SMTP settings"]


@pytest.mark.parametrize(
    "asked",
    [
        {"member": "nobody@acme.example"},
        {"member": "x" * 999},
        {"app": "nowhere"},
        {"stage": "\0"},
        {"operation": "\0"},
        {"since": "2h"},
        {"since": "custom", "start": "x"},
    ],
)
def test_what_matches_nothing_is_said_and_can_be_reset(as_administrator: Client, crm: App, asked: dict[str, str]) -> None:
    audit.record(OPERATOR, "Update", crm)
    answer = as_administrator.get(URL, asked)
    assert answer.status_code == 200
    assert "No entry matches" in answer.content.decode()


@pytest.mark.parametrize(("name", "label"), [("range", "Time range"), ("start", "From"), ("stage", "Stage")])
def test_a_value_that_makes_no_sense_is_said_with_its_field(as_administrator: Client, crm: App, name: str, label: str) -> None:
    shown = as_administrator.get(URL, {"range": "custom", name: "x"}).context["filter"]
    assert [shown.filters[wrong].label for wrong in shown.errors] == [label]


@pytest.mark.parametrize("before", ["x", "-1", "9" * 40, "²"])
def test_a_place_that_is_none_shows_the_newest(as_administrator: Client, crm: App, before: str) -> None:
    audit.record(OPERATOR, "Update", crm)
    assert entries(as_administrator, before=before) == ["Customer Relations"]


def test_it_is_paged_by_number_with_the_same_queries_for_any_length(
    as_administrator: Client, crm: App, qa: Stage, django_assert_max_num_queries: Any
) -> None:
    for _ in range(PAGE + 2):
        audit.record(OPERATOR, "Update", crm)
    with django_assert_max_num_queries(12):
        first = as_administrator.get(URL, {"app": "crm"})
    assert len(first.context["rows"]) == PAGE
    assert first.context["newer_url"] == ""
    second = as_administrator.get(URL + first.context["older_url"])
    assert [event.pk for event, _ in second.context["rows"]] == sorted(AuditEvent.objects.values_list("pk", flat=True))[1::-1]
    assert second.context["older_url"] == ""
    assert second.context["newer_url"] == "?app=crm"


def file_of(client: Client, **asked: object) -> list[dict[str, str]]:
    text = b"".join(client.get(f"{URL}export/", asked).streaming_content).decode()  # type: ignore[attr-defined]
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def test_it_is_exported_with_the_same_filters_and_says_who_took_it(
    as_administrator: Client, administrator: Member, crm: App, qa: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_AT_ONCE", 2)
    configure(qa, authentication="basic", username="portal", new_secret=SECRET)
    qa.name = "=Quality()"
    save_in_organization(qa, administrator)
    for _ in range(4):
        audit.record(OPERATOR, "Update", crm)
    rows = file_of(as_administrator, stage="qa")
    assert [(row["Operation"], row["Entity"]) for row in rows] == [("Update", "stage"), ("Create", "SMTP settings")]
    assert (rows[0]["Name"], rows[0]["What changed"]) == ("'=Quality()", "Name: QA → =Quality()")
    assert rows[0]["Member"] == "Ada Admin <ada.admin@acme.example>"
    assert SECRET not in str(rows)
    event = AuditEvent.objects.get(operation="Export")
    assert (event.actor, event.after) == (administrator, {"what": "audit trail", "filters": {"stage": "qa"}})
    everything = file_of(as_administrator)
    assert [row["Operation"] for row in everything] == [*["Export"] * 2, *["Update"] * 5, "Create"]
    page = as_administrator.get(URL, {"operation": "Update"}).content.decode()
    assert 'href="/management/view/audit-trail/export/?operation=Update"' in page
    assert "stage: qa" in as_administrator.get(URL).content.decode()


def test_who_may_not_read_it_gets_no_file(as_administrator: Client, as_developer: Client, as_viewer: Client) -> None:
    for client in (as_developer, as_viewer):
        assert client.get(f"{URL}export/").status_code == 403
    assert as_administrator.post(f"{URL}export/").status_code == 405
    assert as_administrator.head(f"{URL}export/").status_code == 405
    assert not AuditEvent.objects.exists()
