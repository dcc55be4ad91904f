"""The pages of analytics: what they show, to whom, and at which cost."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from analytics import rollup, views
from analytics.models import HourlyCause, HourlyCount, StageCount
from analytics.report import RANGES, analytics, range_of
from organization.models import Role, RoleGrant
from organization.permissions import Permission
from outbox.counts import backlog
from outbox.models import Attempt, Message, RouteKind, Status
from tests.support.analytics import accepted, ago, assert_totals_fit, everything_counted, seen, tried
from tests.support.portal import make_app, make_member, signed_in

pytestmark = pytest.mark.django_db(transaction=True)


def page(client, path: str = "qa/", **query: str) -> str:
    answer = client.get(f"/monitor/analytics/{path}", query)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


@pytest.fixture
def some_mail(crm, shop, qa, production):
    """Of three days ago and of today, in two stages and apps."""
    for app, stage, span in ((crm, qa, {"minutes": 5}), (shop, qa, {"minutes": 5}), (crm, production, {"days": 3})):
        for number in range(3):
            message = accepted(app, stage, ago(**span), route=RouteKind.TEST_LIST if number else RouteKind.RECIPIENTS)
            tried(message, message.created + timedelta(seconds=1.5), "failed" if app == crm and not number else "sent")
    everything_counted()


def numbers(text: str) -> dict[str, str]:
    """The number cards."""
    return dict(re.findall(r'<dt>([^<]+)</dt> <dd> <span class="number__value">([^<]*)</span>', text))


def test_all_stages_have_no_recipient_policy(as_administrator, qa):
    selector = page(as_administrator, "").partition("Stage:</span>")[2].partition("</details>")[0]
    shown, *choices = re.split(r"</summary>|</li>", selector)
    assert "All stages" in shown and "All stages" in choices[0] and "QA" in choices[1]
    assert ["badge" in piece for piece in (shown, *choices[:2])] == [False, False, True]


def test_the_page_shows_the_numbers(as_administrator, some_mail, crm, qa):
    accepted(crm, qa, ago(hours=3), status=Status.QUEUED)
    accepted(crm, qa, ago(hours=2), status=Status.HELD)
    figures = numbers(page(as_administrator))
    assert figures["Accepted"] == "6"
    assert figures["Sent"] == "5"
    assert figures["Failed"] == "1"
    assert figures["Deferred"] == "0"
    assert figures["Waiting now"] == figures["Held now"] == "1"
    assert figures["Time to send"] == "1.5 s"
    assert figures["To test lists"] == "66.7%"
    text = page(as_administrator)
    assert "oldest 3 h" in text
    assert "The server doesn&#x27;t know this mailbox." in text
    assert "Check the recipient&#x27;s address." in text
    assert "<title>" in text
    assert '<td class="end">6</td>' in text  # the table that says what the chart shows


def test_all_stages_together(as_administrator, some_mail):
    text = page(as_administrator, "", range="7d")
    assert numbers(text)["Accepted"] == "9"
    assert numbers(text)["Failed"] == "2"
    assert "Waiting now, by stage" in text
    assert 'href="/monitor/analytics/qa/?range=7d"' in text
    assert "All stages" in page(as_administrator)
    assert 'href="/monitor/analytics/?range=24h"' in page(as_administrator)


@pytest.mark.parametrize(
    ("key", "accepted"), [("24h", None), ("7d", "3"), ("30d", "3"), ("1y", None), ("", None), ("7d' --", None)]
)
def test_ranges(as_administrator, some_mail, key, accepted):
    """A range that there isn't is the first one, as a filter of the log that there isn't is none."""
    text = page(as_administrator, "production/", range=key)
    assert numbers(text).get("Accepted") == accepted
    assert ("No emails in the last 24 hours" in text) is (accepted is None)


def test_a_range_has_as_many_periods_as_it_says(crm, qa):
    for time_range in RANGES:
        assert len(analytics(seen({qa: [crm]}), time_range).periods) == time_range.count
    with timezone.override("Asia/Kolkata"):
        assert [len(analytics(seen({qa: [crm]}), time_range).periods) for time_range in RANGES] == [24, 7, 30]


def test_days_are_those_of_the_member(crm, qa):
    hour = datetime(2026, 3, 10, 22, tzinfo=UTC)
    assert range_of("7d").period_of(hour).day == 10
    with timezone.override("Asia/Tokyo"):
        assert range_of("7d").period_of(hour).day == 11


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Pacific/Auckland", "America/Los_Angeles"])
def test_apps_and_days_add_up_in_every_time_zone(crm, shop, qa, production, zone):
    """Apps are summed up from days of UTC and the hours before the first; the chart from hours, by the member's days."""
    for number, app in enumerate((crm, crm, shop)):
        for hours in range(number, 24 * 9, 5):
            message = accepted(app, (qa, production)[hours % 2], ago(hours=hours, minutes=2))
            tried(message, message.created + timedelta(seconds=1))
    everything_counted()
    with timezone.override(zone):
        for places in ({qa: [crm, shop], production: [crm, shop]}, {qa: [crm], production: [crm, shop]}, {qa: [shop]}):
            for time_range in RANGES:
                analysis = analytics(seen(places), time_range)
                expected: Counter[object] = Counter()
                for row in HourlyCount.objects.filter(hour__gte=time_range.begin()):
                    if row.app in places.get(row.stage, ()):
                        expected.update({row.app: row.accepted, time_range.period_of(row.hour): row.accepted})
                assert {sums.app: sums.sums.counts["accepted"] for sums in analysis.apps}.items() <= expected.items()
                assert all(sums.counts["accepted"] == expected[period] for period, sums in analysis.periods.items())
                assert sum(app.sums.counts["accepted"] for app in analysis.apps) == analysis.total.counts["accepted"] > 0
                assert sum((app.sums.latencies for app in analysis.apps), Counter()) == analysis.total.latencies


def test_what_was_counted_before_there_were_totals_is_summed_up(some_mail, monkeypatch):
    monkeypatch.setattr(importlib.import_module("outbox.migrations.0005_fill_totals"), "ROWS_AT_ONCE", 1)
    call_command("migrate", "outbox", "0003", verbosity=0)
    call_command("migrate", verbosity=0)
    assert StageCount.objects.exists()
    assert_totals_fit()


def test_without_any_mail_there_is_a_page_too(as_administrator, qa, crm):
    for path, query in (("qa/", {}), ("", {"range": "30d"})):
        text = page(as_administrator, path, **query)
        assert "No emails in" in text
        assert '<svg class="chart"' not in text


def test_the_link_to_the_log_shows_the_failed_mail(as_administrator, some_mail):
    Message.objects.filter(attempts__outcome="failed").update(status=Status.FAILED)
    text = page(as_administrator)
    (link,) = re.findall(r'href="([^"]*status=failed&amp;app=[^"]*)"', text)
    link = link.replace("&amp;", "&")
    assert link == "/monitor/email-log/qa/?status=failed&app=crm"
    shown = set(re.findall(r"/monitor/email-log/qa/(\d+)/", as_administrator.get(link).content.decode()))
    assert shown == {str(Attempt.objects.get(outcome="failed", message__stage__key="qa").message_id)}


def test_causes_come_worst_first_and_only_so_many(as_administrator, crm, shop, qa, monkeypatch):
    monkeypatch.setattr(views, "WORST_CAUSES", 2)
    hour = ago(hours=1).replace(minute=0, second=0, microsecond=0)
    for code, failed, deferred in (("greylisted", 0, 50), ("mailbox_full", 3, 0), ("relay_denied", 7, 0)):
        for app in (crm, shop):
            HourlyCause.objects.create(stage=qa, app=app, hour=hour, code=code, failed=failed, deferred=deferred)
    rollup._add({HourlyCount: {(qa.pk, hour, crm.pk): Counter(accepted=1)}})
    text = page(as_administrator)
    assert text.index("relay access denied") < text.index("mailbox is full")
    assert "greylisting" not in text
    assert "1 to 2 of 3 causes" in text
    assert ">14</span>" in text
    assert 'href="/monitor/email-log/qa/?status=failed"' in text


def test_more_than_is_worth_counting(as_administrator, crm, shop, qa, monkeypatch):
    monkeypatch.setattr(backlog, "COUNTED_AT_MOST", 5)
    for number in range(7):
        accepted(crm if number else shop, qa, ago(minutes=30 - number), status=Status.QUEUED)
    assert numbers(page(as_administrator))["Waiting now"] == "5+"
    depth = backlog.backlog(seen({qa: [shop]}))[qa].waiting
    assert (depth.messages, depth.more) == (1, True)


def test_more_held_than_is_worth_counting(as_administrator, crm, shop, qa, monkeypatch):
    monkeypatch.setattr(backlog, "COUNTED_AT_MOST", 5)
    for app in (crm, shop):
        for number in range(7):
            accepted(app, qa, ago(minutes=30 - number), status=Status.HELD)
    assert numbers(page(as_administrator))["Held now"] == "5+"
    depth = backlog.backlog(seen({qa: [make_app("late", "Late")]}))[qa].held
    assert (depth.messages, depth.more) == (0, True)  # theirs may come after the first ones


def test_nobody_sees_it_without_the_permission(qa, crm):
    nobody = signed_in(make_member("Nobody Special"))
    for path in ("", "qa/"):
        assert nobody.get(f"/monitor/analytics/{path}").status_code == 403
    assert b"/monitor/analytics/" not in nobody.get("/apps/").content


def test_one_has_to_sign_in(client, qa):
    assert client.get("/monitor/analytics/qa/")["Location"].startswith("/accounts/login/")


def test_it_is_only_for_looking(as_administrator, qa):
    assert as_administrator.post("/monitor/analytics/qa/").status_code == 405
    assert as_administrator.post("/monitor/analytics/").status_code == 405
    assert as_administrator.get("/monitor/analytics/nowhere/").status_code == 404


def test_a_developer_sees_the_numbers_of_their_apps_alone(as_developer, some_mail, shop, qa):
    accepted(shop, qa, ago(hours=1), status=Status.QUEUED)
    for path in ("qa/", ""):
        figures = numbers(text := page(as_developer, path))
        assert (figures["Accepted"], figures["Sent"], figures["Waiting now"]) == ("3", "2", "0")
        assert "Web Shop" not in text


def test_a_role_for_one_stage_shows_that_stage_alone(some_mail, qa, production):
    role = Role.objects.create(name="Production logs", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    role.stages.add(production)
    member = make_member("Pia Production")
    RoleGrant.objects.create(member=member, role=role)
    client = signed_in(member)
    assert client.get("/monitor/analytics/qa/").status_code == 403
    assert numbers(page(client, "", range="7d"))["Accepted"] == "3"


@pytest.mark.parametrize("path", ["qa/", ""])
def test_it_costs_the_same_queries_for_5_apps_and_for_50(as_administrator, qa, production, path, django_assert_num_queries):
    def fill(first: int, last: int) -> None:
        for number in range(first, last):
            app = make_app(f"app-{number}", f"App {number}")
            tried(accepted(app, qa, ago(minutes=9)), ago(minutes=8), "failed")
            tried(accepted(app, production, ago(minutes=9)), ago(minutes=8))
        everything_counted()

    fill(0, 5)
    page(as_administrator, path)
    with CaptureQueriesContext(connection) as few:
        page(as_administrator, path)
    fill(5, 50)
    with django_assert_num_queries(len(few)):
        text = page(as_administrator, path)
    assert "1 to 10 of 50 apps" in text


def test_the_page_reads_no_mail_beyond_what_waits(as_administrator, some_mail):
    with CaptureQueriesContext(connection) as queries:
        page(as_administrator)
    for query in queries:
        if re.search(r'FROM "?outbox_(message|attempt)\b', query["sql"]):
            assert "LIMIT" in query["sql"]
