"""The log of all stages: whose emails it shows, numbers, reasons, and how its pages stay fast."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from emaillog import bounded_scan
from emaillog.filters import MessageFilter
from emaillog.pages import count_matching, page_of
from organization.models import App, Role, RoleGrant
from organization.permissions import Permission
from outbox.access.visibility import wide_log_access
from outbox.actions import cancel
from outbox.models import Message, Recipient
from tests.support.emaillog import log, named, subjects
from tests.support.outbox import bare_message, deliver, send
from tests.support.pages import words
from tests.support.portal import OPERATOR, configure, make_member, signed_in
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db
ALL = "/monitor/email-log/"


@pytest.fixture(autouse=True)
def _configured(qa):
    configure(qa)


def reader(*stages, app: App | None = None):
    """A member who reads the logs of these stages."""
    role = Role.objects.create(name=f"Reads {stages}", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    role.stages.set(stages)
    member = make_member("Rita Reader")
    RoleGrant.objects.create(member=member, role=role, app=app)
    return member


def pages_of(client) -> list[str]:
    """All subjects, page by page."""
    page, found = client.get(ALL), []
    while True:
        found += subjects(page)
        if not page.context["older_url"]:
            return found
        page = client.get(ALL + page.context["older_url"])


def test_a_member_sees_the_stages_and_apps_that_they_may_see(crm, shop, development, qa, production):
    for stage in (development, qa, production):
        for app in (crm, shop):
            named(app, stage, f"{app.key} {stage.key}")
    assert subjects(signed_in(reader(development, production, app=crm)).get(ALL)) == ["crm production", "crm development"]
    page = signed_in(make_member("Nora")).get(ALL)
    assert page.status_code == 403


def test_pages_over_some_stages_miss_and_double_nothing(crm, development, qa, production, monkeypatch):
    """Each stage is scanned on its own, a bounded piece at a time, and one of them is quiet for long."""
    monkeypatch.setattr(bounded_scan, "SCAN_LIMIT", 7)
    expected = []
    for number in range(150):
        stage = production if number % 40 == 0 else (development if number % 3 else qa)
        named(crm, stage, f"{number}")
        if stage != qa:
            expected.append(f"{number}")
    assert pages_of(signed_in(reader(development, production))) == expected[::-1]


def test_a_page_never_reads_other_stages(crm, development, qa, production):
    """Pages of some stages go by the index of stage and number, those of all stages by the number alone."""
    for stage in (development, qa, production):
        named(crm, stage, "one")
    for member, index in ((reader(development, production), "message_log"), (make_member("Ida", is_superuser=True), "pk")):
        log_filter = MessageFilter({}, wide_log_access(member))
        for source in log_filter.access.sources():
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("SET LOCAL enable_seqscan = off")
                    cursor.execute("SET LOCAL enable_bitmapscan = off")  # which pays for so few rows alone
            plan = source.values("pk")[:50].explain()
            assert (index if index == "message_log" else "") in plan
            assert "SORT" not in plan.upper().replace("SORTED", "")


@pytest.mark.requires_postgresql
def test_the_log_of_a_quiet_stage_reads_no_burst_of_another(crm, qa, production):
    """PostgreSQL plans by what it counted before. By number alone it would read its way through the burst."""
    Message.objects.bulk_create(Message(**bare_message(crm, stage)) for _ in range(500) for stage in (qa, production))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE outbox_message")
    Message.objects.bulk_create(Message(**bare_message(crm, qa)) for _ in range(2000))
    (source,) = wide_log_access(reader(production)).sources()
    way = source.values("pk")[:50].explain(analyze=True)
    read = re.findall(r"outbox_message.*actual time=\S+ rows=(\d+)(?:\.\d+)?", way)
    removed = re.findall(r"Rows Removed by Filter: (\d+)", way)
    assert (read, removed) == (["50"], [])


def test_the_queries_grow_with_the_stages_and_not_with_the_emails(crm, development, production, django_assert_num_queries):
    member = reader(development, production)
    named(crm, development, "one")

    def read() -> None:
        page_of(MessageFilter({}, wide_log_access(member)), before=None, after=None)

    read()
    with CaptureQueriesContext(connection) as few:
        read()
    for number in range(60):
        named(crm, production, f"{number}")
    with django_assert_num_queries(len(few) + 1):  # a full page doesn't ask whether there is more
        read()


@pytest.mark.parametrize("query", ["{0}", "#{0}", " #{0} "])
def test_an_email_is_found_by_its_number(as_administrator, crm, qa, monkeypatch, query):
    monkeypatch.setattr(bounded_scan, "SCAN_LIMIT", 3)
    message = named(crm, qa, "wanted")
    for number in range(10):
        named(crm, qa, f"other {number}")
    page = as_administrator.get(ALL, {"q": query.format(message.pk)})
    assert subjects(page)[0] == "wanted"
    assert f"#{message.pk}" in page.content.decode()
    assert as_administrator.get(f"/monitor/emails/{message.pk}/").url == f"/monitor/email-log/qa/{message.pk}/"


def test_a_plain_number_is_searched_for_as_words_too(as_administrator, crm, qa):
    message = named(crm, qa, "Invoice 999999")
    assert subjects(log(as_administrator, q="999999")) == ["Invoice 999999"]
    assert subjects(log(as_administrator, q="#999999")) == []
    assert subjects(log(as_administrator, q=message.message_id)) == ["Invoice 999999"]


def test_apps_are_searched_for_by_key_or_name(as_administrator, crm, shop, qa):
    named(crm, qa, "one")
    named(shop, qa, "two")
    assert subjects(log(as_administrator, app=crm.name.lower()[:8])) == ["one"]
    assert subjects(log(as_administrator, app="crm")) == ["one"]
    assert subjects(log(as_administrator, app="no such app")) == []
    proposed = as_administrator.get("/monitor/emails/apps/", {"app": "shop"}).content.decode()
    assert 'value="shop"' in proposed
    assert "crm" not in proposed


def test_no_app_is_proposed_to_who_may_not_see_its_emails(as_developer, crm, shop, qa):
    assert "shop" not in as_developer.get("/monitor/emails/apps/", {"app": ""}).content.decode()


def test_an_hour_that_does_not_exist_is_an_error_at_its_field(as_administrator, administrator, crm, qa):
    named(crm, qa, "one")
    administrator.time_zone = "Europe/Lisbon"
    administrator.save()
    page = as_administrator.get(ALL, {"range": "custom", "start": "2026-03-29T01:30"})
    assert (page.status_code, subjects(page)) == (422, [])
    shown = words(page)
    assert "2026-03-29 01:30 doesn't exist in Europe/Lisbon" in shown
    assert 'aria-describedby="id_start_error"' in page.content.decode()
    assert 'value="2026-03-29T01:30"' in page.content.decode()


def test_of_an_hour_that_comes_twice_both_are_in_the_range(as_administrator, administrator, crm, qa):
    administrator.time_zone = "Europe/Lisbon"
    administrator.save()
    for minute, subject in ((29, "before"), (31, "first"), (91, "second"), (155, "after")):
        named(crm, qa, subject, created=datetime(2026, 10, 25, tzinfo=UTC) + timedelta(minutes=minute))
    page = as_administrator.get(ALL, {"range": "custom", "start": "2026-10-25T01:30", "end": "2026-10-25T01:59"})
    assert subjects(page) == ["second", "first"]


@pytest.mark.django_db(transaction=True)
def test_a_reason_says_what_the_servers_words_mean(as_administrator, crm, qa, production):
    held = send(crm, production)
    with SmtpServer(rcpt={"u@x.example": "550 5.1.1 no such user", "o@x.example": "550 Because of the moon"}.get) as server:
        configure(qa, server)
        for address in ("u@x.example", "o@x.example", "fine@x.example"):
            send(crm, qa, address)
        deliver()
    waits = named(crm, qa, "waits", "c@example.com")
    cancel(waits, OPERATOR)
    reasons = {message.requested[0]: reason for message, _, reason in as_administrator.get(ALL).context["rows"]}
    assert reasons == {
        "u@x.example": "The server doesn't know this mailbox.",
        "o@x.example": "550 Because of the moon",
        "fine@x.example": "",
        "c@example.com": "Cancelled by the tests.",
        "customer@example.com": "The stage has no SMTP settings, or nobody has decided since they were saved.",
    }
    assert held.pk
    file = b"".join(as_administrator.get("/monitor/emails/export/").streaming_content).decode()
    assert "The server doesn't know this mailbox." in file
    assert "550 5.1.1 no such user" in file


def test_a_reason_is_masked_as_addresses_are(as_viewer, crm, qa):
    message = named(crm, qa, "one", "ana.silva@example.com", status="failed")
    Recipient.objects.filter(message=message).update(status="failed", last_reply="550 ana.silva@example.com unknown")
    assert "ana.silva" not in as_viewer.get(ALL).content.decode()
    assert b"ana.silva" not in b"".join(as_viewer.get("/monitor/emails/export/").streaming_content)


def test_the_count_says_if_there_may_be_more(as_administrator, administrator, crm, qa, monkeypatch):
    for number in range(12):
        named(crm, qa, f"{number}", status="failed" if number % 2 else "sent")
    assert as_administrator.get("/monitor/emails/count/", {"status": "failed"}).content == b"6"
    monkeypatch.setattr(bounded_scan, "SCAN_LIMIT", 1)
    number, more = count_matching(MessageFilter({"status": "failed"}, wide_log_access(administrator)))
    assert (number, more) == (5, True)
    assert as_administrator.get("/monitor/emails/count/", {"status": "nonsense"}).content == b"0"
