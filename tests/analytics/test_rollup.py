"""What is counted, and exactly once, whatever happens."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics import rollup
from analytics.latency import bucket_of
from analytics.models import DailyCount, HourlyCause, HourlyCount, HourlyLatency, RollUpPosition
from analytics.report import analytics, range_of
from analytics.rollup import roll_up, uncounted_since
from delivery.worker import Worker
from organization.recipient_policy.changes import allow, change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Attempt, HoldReason, Message, RouteKind, Status
from portal import tasks
from portal.housekeeping import JOBS, prune
from tests.support.analytics import COUNTS, OUTCOMES, accepted, ago, assert_totals_fit, counted, everything_counted, seen, tried
from tests.support.outbox import deliver, in_state, now_due, send, set_list, wait_for_thread
from tests.support.portal import OPERATOR, configure, make_app

pytestmark = pytest.mark.django_db(transaction=True)

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


def test_captured_and_allowed_recipients_are_counted_by_their_rule(crm, qa):
    change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    allow(qa, ["allowed.example"], OPERATOR, typed_stage_name=qa.name)
    for to in (["a@example.com", "b@example.com", "dan@allowed.example"], ["a@example.com"]):
        send(crm, qa, *to)
    Message.objects.update(created=ago(minutes=5))
    assert roll_up() == 2
    # The emails are older than their routes, which may fall into another hour or day.
    for counts in (HourlyCount, DailyCount):
        sums = counts.objects.aggregate(accepted=Sum("accepted"), captured=Sum("captured"), allowed=Sum("allowed"))
        assert sums == {"accepted": 2, "captured": 3, "allowed": 1}
    assert_totals_fit()


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
    messages = [accepted(crm, qa, ago(days=3)) for _ in range(3)]
    accepted(shop, production, ago(days=3), status=Status.HELD, hold_reason=HoldReason.TEST_LIST_EMPTY)
    for held in (1, 3, 2, 0):
        Message.objects.filter(stage=qa).update(**in_state(Status.SENT))
        Message.objects.filter(pk__in=[mail.pk for mail in messages[:held]]).update(**in_state(Status.HELD))
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
    for has_hidden_app in (False, True):  # which the member doesn't see: then the stage's totals don't help
        if has_hidden_app:
            make_app("another", "Another")
        analysis = analytics(seen({qa: [crm, shop]}), range_of("7d"))
        assert [sums.counts["held"] for sums in analysis.periods.values()] == [0, 0, 0, 0, 1, 5, 0]
        assert (analysis.total.counts["held"], analysis.total.counts["accepted"]) == (5, 4)


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


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(events=EVENTS, at_once=st.integers(1, 7), data=st.data())
def test_the_counts_are_those_of_a_plain_count(crm, shop, qa, monkeypatch, events: list[Event], at_once: int, data):
    """Random messages and tries, counted in slices of any size while more of them come in."""
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
    for attempt in Attempt.objects.select_related("message"):
        hour = attempt.created.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        expected[attempt.message.app_id, hour, attempt.outcome] += 1
        if attempt.outcome == "sent":
            buckets[bucket_of((attempt.created - attempt.message.created).total_seconds())] += 1
    counts = Counter(
        {
            (row.app_id, row.hour, column): getattr(row, column)
            for row in HourlyCount.objects.all()
            for column in ("accepted", "to_test_list", *OUTCOMES)
        }
    )
    assert +counts == +expected
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
    read = rollup._messages_after
    overtaken = []

    def slow(last):
        rows = read(last)
        if not overtaken:
            overtaken.append(True)
            assert roll_up() == 10
        return rows

    monkeypatch.setattr(rollup, "_messages_after", slow)
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
    assert len(queries) <= 10  # nothing to do costs next to nothing


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
    assert b"Not all emails are counted yet" in as_administrator.get("/monitor/analytics/qa/").content
    roll_up()
    accepted(crm, qa, ago(seconds=90))
    assert uncounted_since(now) is None
    assert b"Not all emails are counted yet" not in as_administrator.get("/monitor/analytics/qa/").content
