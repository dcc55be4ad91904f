"""The log as a CSV file."""

from __future__ import annotations

import csv
import gc
import io

import pytest
from django.utils import timezone

from emaillog import bounded_scan, csv_export
from organization.models import AuditEvent
from outbox.models import Message, Recipient
from tests.support.emaillog import named
from tests.support.outbox import set_list
from tests.support.portal import configure, make_member, signed_in

pytestmark = pytest.mark.django_db

HEADER = list(csv_export._HEADER)


@pytest.fixture(autouse=True)
def _configured(qa):
    configure(qa)


def answer(client, **query):
    return client.get("/monitor/email-log/qa/export/", query)


def rows(response) -> list[list[str]]:
    text = b"".join(response.streaming_content).decode()
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text[1:], newline="")))


def column(response, name: str) -> list[str]:
    return [row[HEADER.index(name)] for row in rows(response)[1:]]


def test_the_file_has_a_row_for_each_mail(as_administrator, crm, qa):
    set_list(crm, qa, "tess@acme.example", "ben@acme.example")
    message = named(crm, qa, "Grüße, Ana; “1”", "ana@example.com", "cc@example.com", created="2026-05-19T12:00:00Z")
    response = answer(as_administrator)
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == f'attachment; filename="email-log-qa-{timezone.now():%Y-%m-%d}.csv"'
    lines = rows(response)
    assert lines[0] == HEADER
    cells = dict(zip(HEADER, lines[1], strict=True))
    assert cells["Number"] == str(message.pk)
    assert cells["Time"] == "2026-05-19 12:00:00+00:00"
    assert cells["Subject"] == "Grüße, Ana; “1”"
    assert cells["Requested by the app"] == "ana@example.com; cc@example.com"
    assert cells["Routed to"] == "tess@acme.example; ben@acme.example"
    assert cells["Route"] == "Test list"
    assert len(lines) == 2


def test_its_rows_leave_no_work_for_the_garbage_collector(as_administrator, crm, qa):
    for _ in range(3):
        named(crm, qa, "Hello", "ana@example.com", "cc@example.com")
    gc.collect()
    gc.disable()
    try:
        assert len(rows(answer(as_administrator))) == 4
        assert not [left for left in gc.get_objects() if type(left) is Recipient]
    finally:
        gc.enable()


def test_the_filters_hold_and_nobody_gets_mail_of_other_apps(as_administrator, as_developer, crm, shop, qa):
    for app, subject in ((crm, "Invoice 1"), (crm, "Offer"), (shop, "Invoice 2")):
        named(app, qa, subject)
    assert column(answer(as_administrator, q="invoice"), "Subject") == ["Invoice 2", "Invoice 1"]
    assert column(answer(as_developer, q="invoice"), "Subject") == ["Invoice 1"]
    assert column(answer(as_developer), "Subject") == ["Offer", "Invoice 1"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "＝"])
def test_no_cell_is_taken_for_a_formula(as_administrator, crm, qa, start):
    named(crm, qa, "x")
    bad = f'{start}HYPERLINK("http://evil.example")'
    Message.objects.update(subject=bad, message_id=bad, requested=[f"{start}1@example.com"])
    for name in ("Subject", "Message-ID", "Requested by the app"):
        assert column(answer(as_administrator), name)[0].startswith(f"'{start}")


def test_it_comes_in_pieces_and_ends_with_a_remark(as_administrator, crm, qa, monkeypatch):
    monkeypatch.setattr(csv_export, "_ROWS_PER_SCAN", 3)
    monkeypatch.setattr(csv_export, "ROWS_AT_MOST", 10)
    for number in range(10):
        named(crm, qa, f"{number}")
    assert column(answer(as_administrator), "Subject") == [str(number) for number in range(9, -1, -1)]
    named(crm, qa, "10")
    lines = rows(answer(as_administrator))
    assert len(lines) == 12
    (remark,) = lines[-1]
    assert "Not all matching emails" in remark
    assert "after 10 emails" in remark


def test_a_search_for_what_is_rare_ends_too(as_administrator, crm, qa, monkeypatch):
    named(crm, qa, "needle")
    for number in range(20):
        named(crm, qa, f"hay {number}")
    for module in (bounded_scan, csv_export):
        monkeypatch.setattr(module, "SCAN_LIMIT", 4)
    assert len(rows(answer(as_administrator, q="needle"))) == 2
    monkeypatch.setattr(csv_export, "SEARCHED_AT_MOST", 8)
    assert len(rows(answer(as_administrator, q="needle"))) == 2
    assert "Not all matching emails" in rows(answer(as_administrator, q="hay"))[-1][0]


def test_its_queries_do_not_grow_with_the_mail(as_administrator, crm, qa, django_assert_num_queries):
    def queries() -> int:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        with CaptureQueriesContext(connection) as captured:
            rows(answer(as_administrator))
        return len(captured)

    named(crm, qa, "one")
    few = queries()
    for number in range(30):
        named(crm, qa, f"{number}", "a@example.com", "b@example.com")
    assert queries() == few


def test_the_audit_trail_says_who_took_what(as_administrator, administrator, crm, qa):
    answer(as_administrator, q="invoice", range="24h")
    event = AuditEvent.objects.get(operation="Export")
    assert (event.actor, event.stage, event.entity_name) == (administrator, qa, "QA")
    assert event.after == {"what": "email log", "filters": {"q": "invoice", "range": "24h"}}


def test_who_may_not_read_the_log_gets_no_file(as_administrator, crm, qa):
    nobody = signed_in(make_member("Nobody Special"))
    assert answer(nobody).status_code == 403
    assert as_administrator.post("/monitor/email-log/qa/export/").status_code == 405
    assert as_administrator.head("/monitor/email-log/qa/export/").status_code == 405
    assert as_administrator.get("/monitor/email-log/nowhere/export/").status_code == 404
    assert not AuditEvent.objects.filter(operation="Export").exists()


def test_times_are_in_the_members_zone(as_administrator, administrator, crm, qa):
    administrator.time_zone = "Asia/Tokyo"
    administrator.save()
    named(crm, qa, "noon", created="2026-05-19T12:00:00Z")
    assert column(answer(as_administrator), "Time") == ["2026-05-19 21:00:00+09:00"]
    assert Message.objects.count() == 1
