"""Analytics: what is counted, exactly once whatever happens, and what the page shows of it."""

from __future__ import annotations

import importlib
import random
import re
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import Model, Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics import rollup, views
from analytics.causes import cause_of, explanation_of
from analytics.charts import Series, bar_chart, tick_step
from analytics.latency import BOUNDS, bucket_of, edges, in_words, label_of, percentile
from analytics.models import (
    DailyCount,
    DailyLatency,
    HourlyCause,
    HourlyCount,
    HourlyLatency,
    RollUpPosition,
    StageCount,
    StageLatency,
)
from analytics.report import RANGES, analytics, range_of
from analytics.rollup import roll_up, uncounted_since
from delivery.worker import Worker
from organization.models import App, Role, RoleGrant, Stage
from organization.permissions import Permission
from outbox import backlog
from outbox.models import Attempt, HoldReason, Message, RouteKind, Status
from portal import tasks
from portal.housekeeping import JOBS, prune
from tests.support.outbox import deliver, in_state, now_due, send, set_list, wait_for_thread
from tests.support.portal import configure, make_app, make_member, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

COUNTS = (HourlyCount, StageCount, DailyCount, HourlyLatency, StageLatency, DailyLatency, HourlyCause)
OUTCOMES = ("sent", "deferred", "failed", "unknown")
REPLIES = {
    "sent": ("content", 250, "250 2.0.0 Ok"),
    "deferred": ("RCPT TO", 451, "451 4.7.1 Greylisted, try again later"),
    "failed": ("RCPT TO", 550, "550 5.1.1 No such user"),
    "unknown": ("content", None, "The connection broke before the server answered."),
}


def ago(**span: float) -> datetime:
    return timezone.now() - timedelta(**span)


def accepted(app: App, stage: Stage, at: datetime, **fields: object) -> Message:
    """A mail as if it had been accepted then."""
    values = {"route": RouteKind.RECIPIENTS, "due": at, **in_state(str(fields.get("status", Status.SENT))), **fields}
    return Message.objects.create(
        app=app, stage=stage, via="gateway", requested=["c@example.com"], message_id="<1@x>", size=9, created=at, **values
    )


def tried(message: Message, at: datetime, outcome: str = "sent", address: str = "c@example.com") -> Attempt:
    step, code, reply = REPLIES[outcome]
    return Attempt.objects.create(
        message=message, created=at, address=address, outcome=outcome, step=step, code=code, reply=reply
    )


def counted(**where: object) -> dict[str, int]:
    """All counts together, without those that are nothing."""
    columns = ("accepted", "to_test_list", "held", *OUTCOMES)
    sums = HourlyCount.objects.filter(**where).aggregate(**{f"n_{column}": Sum(column) for column in columns})
    return {column: sums[f"n_{column}"] for column in columns if sums[f"n_{column}"]}


def everything_counted() -> None:
    while roll_up():
        pass


def sums_of(model: type[Model], keys: Sequence[str], columns: Sequence[str]) -> dict[object, int]:
    """What `columns` add up to for each of `keys`, a day being one of UTC; without what is nothing."""
    sums: Counter[object] = Counter()
    for row in model._default_manager.all():
        day = getattr(row, "day", None) or row.hour.astimezone(UTC).date()
        key = tuple(day if name == "day" else getattr(row, name) for name in keys)
        sums.update({(key, column): getattr(row, column) for column in columns})
    return dict(+sums)


def assert_totals_fit() -> None:
    """The totals of stages and of days are what their hours add up to."""
    mails = ("accepted", "to_test_list", *OUTCOMES)
    for total, hourly, keys, columns in (
        (StageCount, HourlyCount, ("stage_id", "hour"), mails),
        (DailyCount, HourlyCount, ("stage_id", "app_id", "day"), mails),
        (StageLatency, HourlyLatency, ("stage_id", "hour", "bucket"), ("sent",)),
        (DailyLatency, HourlyLatency, ("stage_id", "app_id", "day", "bucket"), ("sent",)),
    ):
        assert sums_of(total, keys, columns) == sums_of(hourly, keys, columns)


# What is counted


def test_a_mail_and_its_tries_are_counted_in_their_own_hours(crm, qa):
    at = ago(hours=5).replace(minute=59, second=30, microsecond=0)
    message = accepted(crm, qa, at, route=RouteKind.TEST_LIST)
    tried(message, at + timedelta(seconds=1), "deferred")
    tried(message, at + timedelta(minutes=10))
    assert roll_up() == 3
    first, second = HourlyCount.objects.order_by("hour")
    assert first.hour == at.replace(minute=0, second=0)
    assert (first.accepted, first.to_test_list, first.deferred, first.sent) == (1, 1, 1, 0)
    assert (second.accepted, second.sent, second.hour - first.hour) == (0, 1, timedelta(hours=1))
    (latency,) = HourlyLatency.objects.all()
    assert (latency.bucket, latency.sent) == (bucket_of(600), 1)
    (cause,) = HourlyCause.objects.all()
    assert (cause.code, cause.deferred, cause.failed, cause.hour) == ("greylisted", 1, 0, first.hour)


def test_what_is_younger_than_a_minute_waits_for_the_next_time(crm, qa):
    """A transaction may still be about to commit a mail with a smaller number."""
    old, young = accepted(crm, qa, ago(seconds=70)), accepted(crm, qa, ago(seconds=20))
    assert roll_up() == 1
    Message.objects.filter(pk=young.pk).update(created=ago(seconds=61))
    assert roll_up() == 1
    assert roll_up() == 0
    assert counted() == {"accepted": 2}
    assert RollUpPosition.objects.get(counted="mails").last == young.pk > old.pk


def test_a_clock_that_jumped_ahead_stops_nothing(crm, qa):
    accepted(crm, qa, timezone.now() + timedelta(days=30_000))
    accepted(crm, qa, ago(hours=1))
    everything_counted()
    assert counted() == {"accepted": 2}


def test_held_is_the_most_that_was_held_at_one_time_of_the_hour(crm, shop, qa, production, monkeypatch):
    """However long ago it was accepted, and whether it was held then or became so later."""
    hour = datetime(2026, 3, 2, 10, 15, tzinfo=UTC)
    monkeypatch.setattr(rollup, "database_now", lambda: hour)
    mails = [accepted(crm, qa, ago(days=3)) for _ in range(3)]
    accepted(shop, production, ago(days=3), status=Status.HELD, hold_reason=HoldReason.TEST_LIST_EMPTY)
    for held in (1, 3, 2, 0):
        Message.objects.filter(stage=qa).update(**in_state(Status.SENT))
        Message.objects.filter(pk__in=[one.pk for one in mails[:held]]).update(**in_state(Status.HELD))
        roll_up()
    hour += timedelta(hours=1)
    roll_up()
    levels = HourlyCount.objects.exclude(held=0).order_by("hour", "app__key").values_list("hour__hour", "app__key", "held")
    assert list(levels) == [(10, "crm", 3), (10, "shop", 1), (11, "shop", 1)]


def test_of_a_days_hours_the_one_with_the_most_held_mail_counts(crm, shop, qa):
    noon = timezone.localtime().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    for hours, held in ((0, {crm: 3, shop: 2}), (1, {crm: 4}), (-24, {crm: 1})):
        hour = noon + timedelta(hours=hours)
        rollup._add({HourlyCount: {(qa.pk, hour, app.pk): Counter(accepted=1, held=number) for app, number in held.items()}})
    for another in (False, True):  # which the member doesn't see: then the stage's totals don't help
        if another:
            make_app("another", "Another")
        found = analytics({qa: [crm, shop]}, range_of("7d"))
        assert [sums.counts["held"] for sums in found.periods.values()] == [0, 0, 0, 0, 1, 5, 0]
        assert (found.total.counts["held"], found.total.counts["accepted"]) == (5, 4)


def test_really_delivered_mail(crm, qa, smtp_server, monkeypatch):
    monkeypatch.setattr(rollup, "LAG", timedelta(0))
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = {"no@example.com": "550 5.1.1 no such user", "later@example.com": "451 4.7.1 greylisted"}.get
    send(crm, qa, "yes@example.com", "no@example.com", "later@example.com")
    deliver()
    set_list(crm, qa, "ana@acme.example", "ben@acme.example")
    send(crm, qa)
    deliver()
    everything_counted()
    assert counted() == {"accepted": 2, "to_test_list": 1, "sent": 3, "failed": 1, "deferred": 1}
    assert dict(HourlyCause.objects.values_list("code", "failed")) == {"recipient_unknown": 1, "greylisted": 0}
    assert HourlyLatency.objects.aggregate(Sum("sent"))["sent__sum"] == 3


def test_an_address_that_is_given_up_counts_as_failed_once(crm, qa, smtp_server, monkeypatch):
    monkeypatch.setattr(rollup, "LAG", timedelta(0))
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = {"later@example.com": "451 4.7.1 greylisted"}.get
    message = send(crm, qa, "later@example.com")
    deliver()
    now_due()
    monkeypatch.setattr("delivery.retry_schedule.PAUSES", [timedelta(minutes=1)])
    deliver()
    assert message.recipients.get().status == Status.FAILED
    everything_counted()
    assert counted() == {"accepted": 1, "deferred": 1, "failed": 1}
    assert HourlyCause.objects.get().failed == 1


def test_a_mail_that_a_person_cancelled_did_not_fail(crm, qa):
    message = accepted(crm, qa, ago(hours=1), status=Status.FAILED)
    tried(message, ago(hours=1), "deferred")
    message.recipients.create(address="c@example.com", status=Status.FAILED, last_reply="Cancelled by Ada.")
    roll_up()
    assert counted() == {"accepted": 1, "deferred": 1}


@pytest.mark.parametrize(
    ("step", "code", "reply", "cause"),
    [
        ("RCPT TO", 550, "550 5.1.1 unknown", "recipient_unknown"),
        ("content", None, "The connection broke before the server answered.", "hand_over_broke"),
        ("MAIL FROM", None, "5.6.7 The server doesn't support addresses outside ASCII", "smtputf8_missing"),
        ("", None, "The worker stopped during the hand-over.", "worker_stopped"),
        ("content", 554, "554 spam", "content_refused"),
    ],
)
def test_every_cause_has_words(step, code, reply, cause):
    assert cause_of(step, code, reply) == cause
    explanation = explanation_of(cause)
    assert explanation.cause.endswith(".")
    assert explanation.next_step


def test_a_cause_of_another_version_stands_for_itself():
    assert explanation_of("sun_spots").cause == "sun_spots"


# Exactly once

Event = tuple[int, int, bool, list[tuple[int, str]]]
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(2, 60 * 40),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 60 * 50), st.sampled_from(OUTCOMES)), max_size=4),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, at_once=st.integers(1, 7), data=st.data())
def test_the_counts_are_those_of_a_plain_count(crm, shop, qa, monkeypatch, events: list[Event], at_once: int, data):
    """Random mails and tries, counted in slices of any size while more of them come in."""
    monkeypatch.setattr(rollup, "ROWS_AT_ONCE", at_once)
    for model in (Message, RollUpPosition, *COUNTS):
        model.objects.all().delete()
    for app, minutes, test_list, tries in events:
        message = accepted(
            (crm, shop)[app],
            qa,
            ago(minutes=minutes),
            route=RouteKind.TEST_LIST if test_list else RouteKind.RECIPIENTS,
        )
        for later, outcome in tries:
            tried(message, min(message.created + timedelta(seconds=later), ago(minutes=1)), outcome)
        if data.draw(st.booleans()):
            roll_up()
    everything_counted()
    expected: Counter[tuple[int, datetime, str]] = Counter()
    buckets: Counter[int] = Counter()
    for mail in Message.objects.all():
        hour = mail.created.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        expected[mail.app_id, hour, "accepted"] += 1
        expected[mail.app_id, hour, "to_test_list"] += mail.route == RouteKind.TEST_LIST
    for one in Attempt.objects.select_related("message"):
        hour = one.created.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        expected[one.message.app_id, hour, one.outcome] += 1
        if one.outcome == "sent":
            buckets[bucket_of((one.created - one.message.created).total_seconds())] += 1
    found = Counter(
        {
            (row.app_id, row.hour, column): getattr(row, column)
            for row in HourlyCount.objects.all()
            for column in ("accepted", "to_test_list", *OUTCOMES)
        }
    )
    assert +found == +expected
    assert Counter({row.bucket: 0 for row in HourlyLatency.objects.all()}).keys() == buckets.keys()
    assert HourlyLatency.objects.aggregate(n=Sum("sent"))["n"] == (sum(buckets.values()) or None)
    troubles = HourlyCause.objects.aggregate(deferred=Sum("deferred"), failed=Sum("failed"), unknown=Sum("unknown"))
    for outcome, number in troubles.items():
        assert (number or 0) == sum(count for key, count in expected.items() if key[2] == outcome)
    assert_totals_fit()


def test_a_kill_in_the_middle_loses_nothing_and_counts_nothing_twice(crm, qa, monkeypatch):
    monkeypatch.setattr(rollup, "ROWS_AT_ONCE", 3)
    for number in range(10):
        tried(accepted(crm, qa, ago(minutes=100 - number)), ago(minutes=60))
    add, random_number = rollup._add, random.Random(7)

    def killed(additions):
        add(additions)
        if random_number.random() < 0.5:
            raise SystemExit("killed")

    monkeypatch.setattr(rollup, "_add", killed)
    kills = 0
    for _ in range(60):
        try:
            roll_up()
        except SystemExit:
            kills += 1
    assert kills
    assert counted() == {"accepted": 10, "sent": 10}


def test_who_was_overtaken_while_reading_adds_nothing(crm, qa, monkeypatch):
    for _ in range(5):
        tried(accepted(crm, qa, ago(minutes=5)), ago(minutes=5))
    read = rollup._mails_after
    overtaken = []

    def slow(last):
        rows = read(last)
        if not overtaken:
            overtaken.append(True)
            assert roll_up() == 10
        return rows

    monkeypatch.setattr(rollup, "_mails_after", slow)
    assert roll_up() == 0
    assert counted() == {"accepted": 5, "sent": 5}


def test_many_at_once(crm, qa, monkeypatch):
    monkeypatch.setattr(rollup, "ROWS_AT_ONCE", 4)
    for _ in range(40):
        tried(accepted(crm, qa, ago(minutes=5)), ago(minutes=5))
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        for _ in range(25):
            roll_up()
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything_counted()
    assert counted() == {"accepted": 40, "sent": 40}


def test_one_call_does_a_bounded_piece_of_work(crm, qa, monkeypatch):
    monkeypatch.setattr(rollup, "ROWS_AT_ONCE", 10)
    for hours in range(25, 0, -1):
        accepted(crm, qa, ago(hours=hours))
    assert [roll_up() for _ in range(4)] == [10, 10, 5, 0]
    with CaptureQueriesContext(connection) as queries:
        roll_up()
    assert len(queries) <= 7  # nothing to do costs next to nothing


def test_pruned_mail_stays_counted_and_counts_go_with_the_log(crm, qa, settings):
    settings.LOG_RETENTION_DAYS = 100
    for days in (101, 50):
        message = accepted(crm, qa, ago(days=days))
        tried(message, message.created)
        tried(message, message.created, "failed")
    roll_up()
    Message.objects.update(due=ago(days=200))
    Message.objects.update(created=ago(days=200))
    prune()
    assert not Message.objects.exists()
    assert counted() == {"accepted": 1, "sent": 1, "failed": 1}
    assert HourlyLatency.objects.count() == HourlyCause.objects.count() == 1
    assert_totals_fit()
    assert roll_up() == 0


def test_the_worker_and_celery_count(crm, qa):
    (job,) = [job for job in JOBS if job.name == "roll-up"]
    assert 10 <= job.every <= 60
    assert job.start in {periodic.action for periodic in Worker(jobs=JOBS)._every}
    assert job.start not in {periodic.action for periodic in Worker("celery-1", jobs=JOBS)._every}
    accepted(crm, qa, ago(minutes=5))
    job.start()
    wait_for_thread("roll-up")
    assert counted() == {"accepted": 1}
    accepted(crm, qa, ago(minutes=2))
    tasks.run_job("roll-up")
    assert counted() == {"accepted": 2}


def test_it_shows_when_counting_is_behind(crm, qa, as_administrator):
    now = timezone.now()
    assert uncounted_since(now) is None
    late = accepted(crm, qa, ago(minutes=20))
    assert uncounted_since(now) == late.created
    assert b"Not all mail is counted yet" in as_administrator.get("/monitor/analytics/qa/").content
    roll_up()
    accepted(crm, qa, ago(seconds=90))
    assert uncounted_since(now) is None
    assert b"Not all mail is counted yet" not in as_administrator.get("/monitor/analytics/qa/").content


# Latency


def test_no_mail_has_no_percentile():
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


@pytest.mark.parametrize(
    ("histogram", "share", "seconds"),
    [
        ({bucket_of(0.08): 100}, 0.5, 0.075),
        ({bucket_of(0.08): 100}, 1.0, 0.1),
        ({bucket_of(0.08): 90, bucket_of(90): 10}, 0.5, 0.05 + 0.05 * 50 / 90),
        ({bucket_of(0.08): 90, bucket_of(90): 10}, 0.95, 90),
        ({bucket_of(0.0): 1}, 1.0, 0.02),
        ({len(BOUNDS): 7}, 0.5, 48 * 3600),
    ],
)
def test_percentiles(histogram, share, seconds):
    assert percentile(histogram, share) == pytest.approx(seconds)


@given(times=st.lists(st.floats(0, 300_000), min_size=1, max_size=200), share=st.sampled_from([0.01, 0.5, 0.95, 1.0]))
@settings(deadline=None)
def test_a_percentile_lies_in_the_bucket_of_the_true_one(times: list[float], share: float):
    true = sorted(times)[max(0, -int(-share * len(times) // 1) - 1)]
    begin, end = edges(bucket_of(true))
    assert begin <= percentile(Counter(map(bucket_of, times)), share) <= end + 1e-6


def test_buckets_have_no_gaps():
    assert bucket_of(-5) == bucket_of(0) == bucket_of(0.02) == 0
    assert bucket_of(0.021) == 1
    assert bucket_of(10**9) == len(BOUNDS)
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert [label_of(bucket) for bucket in (0, 6, len(BOUNDS))] == ["up to 20 ms", "1 s to 2 s", "over 48 h"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.0754, "75 ms"), (0.9999, "1 s"), (1.25, "1.2 s"), (59, "59 s"), (60, "1 min"), (5400, "1.5 h"),
     (172_800, "48 h"), (400_000, "4.6 days")],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


# Charts


@pytest.mark.parametrize(
    ("highest", "step"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 5), (41, 20), (4001, 2000), (400, 100)]
)
def test_ticks_are_round_and_reach_up_to_the_highest(highest, step):
    assert tick_step(highest) == step


@given(values=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=31))
@settings(deadline=None)
def test_every_bar_stands_on_the_axis_inside_its_column(values: list[tuple[int, int]]):
    series = [Series("A", "blue", [one for one, _ in values]), Series("B", "red", [two for _, two in values])]
    chart = bar_chart("k", "Title", "Hour", "Mails", [str(n) for n in range(len(values))], series)
    for column in chart.columns:
        assert len(column.bars) == sum(value > 0 for _, value in column.named)
        for bar in column.bars:
            assert column.x <= bar.x < bar.x + bar.width <= column.x + column.width + 1e-6
            assert chart.top <= bar.y
            assert bar.y + bar.height == pytest.approx(chart.top + chart.plot_height)
            assert bar.height >= 1
    assert 1 <= sum(column.shown for column in chart.columns) <= 5


# The page


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


def test_the_page_shows_the_numbers(as_administrator, some_mail, crm, qa):
    accepted(crm, qa, ago(hours=3), status=Status.QUEUED)
    accepted(crm, qa, ago(hours=2), status=Status.HELD)
    found = numbers(page(as_administrator))
    assert found["Accepted"] == "6"
    assert found["Sent"] == "5"
    assert found["Failed"] == "1"
    assert found["Deferred"] == "0"
    assert found["Waiting now"] == found["Held now"] == "1"
    assert found["Time to send"] == "1.5 s"
    assert found["To test lists"] == "66.7%"
    text = page(as_administrator)
    assert "oldest 3 h" in text
    assert "The server knows no such mailbox." in text
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
    assert ("No mail in the last 24 hours" in text) is (accepted is None)


def test_a_range_has_as_many_periods_as_it_says(crm, qa):
    for one in RANGES:
        assert len(analytics({qa: [crm]}, one).periods) == one.count
    with timezone.override("Asia/Kolkata"):
        assert [len(analytics({qa: [crm]}, one).periods) for one in RANGES] == [24, 7, 30]


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
            for one in RANGES:
                found = analytics(places, one)
                wanted: Counter[object] = Counter()
                for row in HourlyCount.objects.filter(hour__gte=one.begin()):
                    if row.app in places.get(row.stage, ()):
                        wanted.update({row.app: row.accepted, one.period_of(row.hour): row.accepted})
                assert {sums.app: sums.sums.counts["accepted"] for sums in found.apps}.items() <= wanted.items()
                assert all(sums.counts["accepted"] == wanted[period] for period, sums in found.periods.items())
                assert sum(one.sums.counts["accepted"] for one in found.apps) == found.total.counts["accepted"] > 0
                assert sum((one.sums.latencies for one in found.apps), Counter()) == found.total.latencies


def test_what_was_counted_before_there_were_totals_is_summed_up(some_mail, monkeypatch):
    monkeypatch.setattr(importlib.import_module("outbox.migrations.0005_fill_totals"), "ROWS_AT_ONCE", 1)
    call_command("migrate", "outbox", "0003", verbosity=0)
    call_command("migrate", "outbox", verbosity=0)
    assert StageCount.objects.exists()
    assert_totals_fit()


def test_without_any_mail_there_is_a_page_too(as_administrator, qa, crm):
    for path, query in (("qa/", {}), ("", {"range": "30d"})):
        text = page(as_administrator, path, **query)
        assert "No mail in" in text
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
    depth = backlog.backlog({qa: [shop]})[qa].waiting
    assert (depth.mails, depth.more) == (1, True)


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
        found = numbers(text := page(as_developer, path))
        assert (found["Accepted"], found["Sent"], found["Waiting now"]) == ("3", "2", "0")
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
