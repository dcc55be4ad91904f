"""The week of emails that `make demo` starts with."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from analytics.models import DailyCount, RollUpPosition
from analytics.rollup import LAG
from outbox.models import Attempt, Message

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


@pytest.fixture
def demo(settings):
    settings.DEBUG = True
    call_command("seed_demo", "--with-emails", stdout=StringIO())


def test_the_demo_starts_with_a_week_of_emails_in_every_status(demo):
    assert set(Message.objects.values_list("status", flat=True)) == {"sent", "failed", "deferred", "held"}
    assert set(Message.objects.values_list("route", flat=True)) == {"test_list", "recipients"}
    oldest, newest = Message.objects.earliest("created").created, Message.objects.latest("created").created
    assert timedelta(days=6) < newest - oldest <= timedelta(days=7, hours=1)
    assert newest <= timezone.now()
    in_order = list(Message.objects.order_by("pk").values_list("created", flat=True))
    assert in_order == sorted(in_order)


def test_the_demos_analytics_count_every_email_and_try(demo):
    counted = DailyCount.objects.all()
    assert sum(row.accepted for row in counted) == Message.objects.count()
    # A try of the last minute is counted by the demo's worker.
    too_new = Attempt.objects.filter(pk__gt=RollUpPosition.objects.get(counted="tries").last)
    assert not too_new.filter(created__lt=timezone.now() - 2 * LAG).exists()
    assert sum(row.sent + row.deferred + row.failed for row in counted) == Attempt.objects.count() - too_new.count()


def test_each_recipient_ends_as_its_last_try_says(demo):
    for message in Message.objects.exclude(status="held").prefetch_related("recipients", "attempts")[:300]:
        for recipient in message.recipients.all():
            tries = [attempt for attempt in message.attempts.all() if attempt.address == recipient.address]
            assert (recipient.tries, recipient.status) == (len(tries), tries[-1].outcome)
            assert (recipient.finished is None) == (recipient.status == "deferred")


def test_a_demo_that_people_use_gets_no_week(settings):
    settings.DEBUG = True
    call_command("seed_demo", stdout=StringIO())
    call_command("seed_demo", "--with-emails", stdout=StringIO())
    assert not Message.objects.exists()
