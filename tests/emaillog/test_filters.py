"""The log's filters, looking through a bounded piece at a time, and the word about new mail."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from emaillog import bounded_scan
from organization.credentials import create_credential
from outbox.models import Message, Source, Status
from outbox.submission import Envelope, submit
from tests.support.emaillog import log, named, subjects
from tests.support.outbox import in_state, set_list, take
from tests.support.portal import OPERATOR, configure, mail, make_member, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _configured(qa):
    configure(qa)


@pytest.fixture
def hours_of_mail(crm, qa) -> list[str]:
    """A mail an hour, the oldest first."""
    names = [f"{hours} hours ago" for hours in (800, 100, 20, 3, 0)]
    for name in names:
        named(crm, qa, name, created=timezone.now() - timedelta(hours=int(name.split()[0]), minutes=1))
    return names


def at(hours: float) -> str:
    return f"{timezone.now() - timedelta(hours=hours):%Y-%m-%dT%H:%M}"


@pytest.mark.parametrize(("since", "count"), [("1h", 1), ("12h", 2), ("24h", 3), ("7d", 4), ("30d", 4), ("", 5)])
def test_a_time_range_from_the_menu(as_administrator, hours_of_mail, since, count):
    assert subjects(log(as_administrator, range=since)) == hours_of_mail[::-1][:count]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(150, 2, ["3", "20", "100"]), (50, None, ["0", "3", "20"]), (None, 50, ["100", "800"]), (2, 150, [])],
)
def test_a_time_range_of_ones_own(as_administrator, hours_of_mail, start, end, expected):
    query = {"range": "custom", "start": at(start) if start else "", "end": at(end) if end else ""}
    page = log(as_administrator, **query)
    assert subjects(page) == [f"{hours} hours ago" for hours in expected]
    assert 'value="custom" selected' in page.content.decode()


def test_from_and_to_count_in_a_range_of_ones_own_alone(as_administrator, hours_of_mail):
    assert len(subjects(log(as_administrator, range="24h", start=at(2), end=at(1)))) == 3
    assert len(subjects(log(as_administrator, start=at(2)))) == 5


def test_times_are_those_of_the_members_own_zone(as_administrator, administrator, crm, qa):
    named(crm, qa, "noon", created="2026-05-19T12:00:00Z")
    administrator.time_zone = "Asia/Tokyo"
    administrator.save()
    noon = {"range": "custom", "start": "2026-05-19T20:59", "end": "2026-05-19T21:01"}
    assert subjects(log(as_administrator, **noon)) == ["noon"]
    assert subjects(log(as_administrator, **{**noon, "start": "2026-05-19T11:59", "end": "2026-05-19T12:01"})) == []


def test_mail_whose_times_are_a_little_out_of_order_is_found(as_administrator, crm, qa):
    """Two transactions at once: the one that began first may number its mail last."""
    now = timezone.now()
    for number, minutes in enumerate((62, 58, 63, 57, 61, 59)):
        named(crm, qa, f"{number}", created=now - timedelta(minutes=minutes))
    assert subjects(log(as_administrator, range="1h")) == ["5", "3", "1"]
    assert subjects(log(as_administrator, range="custom", end=at(1))) == ["4", "2", "0"]


def test_one_choice_shows_all_that_is_on_its_way(as_administrator, crm, qa):
    for status in Status:
        Message.objects.filter(pk=named(crm, qa, status.value).pk).update(**in_state(status))
    assert sorted(subjects(log(as_administrator, status="waiting"))) == ["deferred", "queued", "sending"]
    assert subjects(log(as_administrator, status="deferred")) == ["deferred"]
    assert subjects(log(as_administrator, status="nonsense")) == []
    analytics = as_administrator.get("/monitor/analytics/qa/")
    assert 'href="/monitor/email-log/qa/?status=waiting"' in analytics.content.decode()
    assert str(analytics.context["backlog"].waiting) == "3"


def test_recipients_are_found_by_the_start_of_their_address(as_administrator, crm, qa):
    set_list(crm, qa, "tess@acme.example")
    caught = named(crm, qa, "caught", "Ana.Silva@example.com")
    set_list(crm, qa, "tess@acme.example", active=False)
    named(crm, qa, "to crm@acme.example", "boss@example.com")
    for start in ("ana.silva@example.com", "ANA.", "tess@"):
        assert subjects(log(as_administrator, recipient=start)) == [caught.subject]
    for start in ("silva@example.com", "crm@acme.example", "100%", "a_a"):
        assert subjects(log(as_administrator, recipient=start)) == []


def test_a_recipient_that_joins_later_is_found_too(as_administrator, crm, qa):
    named(crm, qa, "caught on its way")
    set_list(crm, qa, "tess@acme.example")
    take(qa, 1)
    assert subjects(log(as_administrator, recipient="tess@")) == ["caught on its way"]


def test_the_mail_of_one_credential(as_administrator, crm, shop, qa):
    web_server, other = (create_credential(crm, qa, OPERATOR, name).credential for name in ("web server", "nightly job"))
    for credential in (web_server, other):
        submit(
            crm,
            qa,
            Envelope("a@acme.example", ["b@example.com"]),
            mail(subject=credential.name),
            via=Source.GATEWAY,
            credential=credential,
        )
    page = log(as_administrator, credential=web_server.username)
    assert subjects(page) == ["web server"]
    assert f"nightly job ({other.username})" in log(as_administrator, app="crm").content.decode()


def test_a_developer_is_not_offered_the_credentials_of_other_apps(as_developer, crm, shop, qa):
    named(crm, qa, "own")
    foreign = create_credential(shop, qa, OPERATOR).credential
    assert foreign.username not in log(as_developer).content.decode()
    assert "Select a valid choice" in log(as_developer, credential=foreign.username).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        {"range": "custom", "start": "yesterday"},
        {"range": "custom", "end": "2026-02-30T00:00"},
        {"status": "nonsense"},
        {"credential": "nobody"},
        {"q": "x" * 301},
        {"numbers": "1,two"},
        {"stage": "nowhere"},
    ],
)
def test_a_filter_that_makes_no_sense_matches_nothing_and_says_so(as_administrator, crm, qa, query):
    named(crm, qa, "one")
    for address in ("/monitor/email-log/", "/monitor/email-log/qa/"):
        page = as_administrator.get(address, query)
        assert page.status_code == 422
        assert subjects(page) == []
        assert len(page.context["filter"].errors) == 1
        assert "No emails are shown" in page.content.decode()
    assert as_administrator.get("/monitor/email-log/qa/export/", query).status_code == 422
    assert "new email" not in as_administrator.get("/monitor/emails/new/", {**query, "above": 0}).content.decode()


@pytest.fixture
def ten_at_once(monkeypatch) -> None:
    monkeypatch.setattr(bounded_scan, "SCAN_LIMIT", 10)


def follow(client, address: str):
    return client.get(f"/monitor/email-log/qa/{address}")


def test_a_search_goes_on_where_it_stopped(as_administrator, crm, qa, ten_at_once):
    named(crm, qa, "needle one")
    for number in range(25):
        named(crm, qa, f"hay {number}")
    named(crm, qa, "needle two")
    first = log(as_administrator, q="needle")
    assert subjects(first) == ["needle two"]
    assert "Search further back" in first.content.decode()
    second = follow(as_administrator, first.context["older_url"])
    assert subjects(second) == []
    assert "No matches so far" in second.content.decode()
    third = follow(as_administrator, second.context["older_url"])
    assert subjects(third) == ["needle one"]
    assert not third.context["older_url"]
    back = follow(as_administrator, third.context["newer_url"])
    assert "Search further" in back.content.decode()
    back = follow(as_administrator, back.context["newer_url"])
    back = follow(as_administrator, back.context["newer_url"]) if not subjects(back) else back
    assert subjects(back) == ["needle two"]
    assert not back.context["newer_url"]


def test_no_request_reads_more_than_a_piece(as_administrator, crm, qa, monkeypatch):
    """Whatever is asked, the queries on the mail are limited by number or by row."""
    for number in range(30):
        named(crm, qa, f"hay {number}")
    monkeypatch.setattr(bounded_scan, "SCAN_LIMIT", 10)
    with CaptureQueriesContext(connection) as queries:
        log(as_administrator, q="needle", status="held", recipient="nobody", range="30d")
    on_mail = [query["sql"] for query in queries if 'FROM "outbox_message"' in query["sql"]]
    assert on_mail
    assert all("LIMIT" in query for query in on_mail)
    assert not any("OFFSET" in query or "COUNT(*)" in query for query in on_mail)


def test_a_stage_without_mail(as_administrator, qa):
    for query in ({}, {"q": "x"}, {"range": "30d"}, {"range": "custom", "end": at(1)}, {"after": "5"}, {"before": "5"}):
        assert log(as_administrator, **query).status_code == 200


def test_filters_cost_the_same_queries_for_one_mail_and_for_fifty(as_administrator, crm, qa, django_assert_max_num_queries):
    query = {"range": "30d", "q": "mail", "recipient": "a@"}
    named(crm, qa, "mail", "a@example.com")
    with CaptureQueriesContext(connection) as few:
        log(as_administrator, **query)
    for number in range(49):
        named(crm, qa, f"mail {number}", "a@example.com", "b@example.com")
    with django_assert_max_num_queries(len(few) + 7):  # halving 50 takes six steps more
        answer = log(as_administrator, **query)
    assert len(subjects(answer)) == 50


# New mail


def new_mail(client, above: int, **query: str):
    return client.get("/monitor/email-log/qa/new/", {"above": above, **query})


def test_new_mail_that_matches_is_counted(as_administrator, crm, qa):
    seen = named(crm, qa, "seen").pk
    assert "href" not in new_mail(as_administrator, seen).content.decode()
    named(crm, qa, "new")
    assert "1 new email<" in new_mail(as_administrator, seen).content.decode()
    named(crm, qa, "other")
    text = new_mail(as_administrator, seen).content.decode()
    assert "2 new emails" in text
    assert 'href="/monitor/email-log/qa/"' in text
    text = new_mail(as_administrator, seen, q="other").content.decode()
    assert "1 new email<" in text
    assert 'href="/monitor/email-log/qa/?q=other"' in text


def test_after_fifty_nobody_asks_any_more(as_administrator, crm, qa):
    for number in range(51):
        named(crm, qa, f"{number}")
    answer = new_mail(as_administrator, 0)
    assert "50+ new emails" in answer.content.decode()
    assert answer.status_code == 286  # htmx stops


def test_the_first_page_alone_looks_out_for_new_mail(as_administrator, crm, qa):
    newest = named(crm, qa, "one").pk
    assert (
        f"/monitor/email-log/qa/new/?status=queued&amp;above={newest}" in log(as_administrator, status="queued").content.decode()
    )
    assert 'id="new-mail"' not in log(as_administrator, before=newest + 1).content.decode()


def test_new_mail_is_counted_for_those_who_may_read_the_log_alone(as_developer, crm, shop, qa):
    named(shop, qa, "not theirs")
    assert "href" not in new_mail(as_developer, 0).content.decode()
    assert new_mail(signed_in(make_member("Nobody Special")), 0).status_code == 403
    assert as_developer.post("/monitor/email-log/qa/new/").status_code == 405
    assert as_developer.get("/monitor/email-log/nowhere/new/").status_code == 404
    assert new_mail(as_developer, "x").status_code == 200
