"""What goes after 30 and after 365 days, what stays, and what the email log says then."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from common.jobs import Periodic
from delivery.worker import Worker
from organization.access import Scope
from outbox import retention
from outbox.holding.held_mail import answer
from outbox.models import Attempt, Content, HeldAnswer, HoldReason, Message, Recipient, Status
from outbox.retention import PruneResult, prune
from portal.housekeeping import JOBS
from tests.support.outbox import deliver, in_state, send, set_list, wait_for_thread
from tests.support.portal import OPERATOR, configure

pytestmark = pytest.mark.django_db(transaction=True)

(PRUNE,) = [job for job in JOBS if job.name == "prune"]


def aged(message: Message, days: int, *, final_for: int | None = None, status: str = Status.SENT) -> Message:
    """As if the mail had been accepted so many days ago, and final for as long unless told otherwise."""
    accepted = timezone.now() - timedelta(days=days)
    due = accepted if final_for is None else timezone.now() - timedelta(days=final_for)
    Message.objects.filter(pk=message.pk).update(created=accepted, due=due, **in_state(status))
    message.recipients.update(status=status)
    return message


def test_content_goes_after_its_days_and_the_mail_after_its_own(crm, qa, configured, smtp_server, settings):
    settings.CONTENT_RETENTION_DAYS, settings.LOG_RETENTION_DAYS = 30, 365
    young, old, ancient = send(crm, qa), send(crm, qa), send(crm, qa)
    deliver()
    aged(young, 29)
    aged(old, 31, status=Status.FAILED)
    aged(ancient, 366)
    assert prune() == PruneResult(contents=2, messages=1)
    assert list(Content.objects.values_list("message", flat=True)) == [young.pk]
    assert set(Message.objects.values_list("pk", flat=True)) == {young.pk, old.pk}
    assert Recipient.objects.count() == Attempt.objects.count() == 2
    assert prune() == PruneResult(contents=0, messages=0)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SENDING, Status.DEFERRED, Status.HELD])
def test_mail_that_is_not_final_is_never_touched(crm, qa, status):
    message = aged(send(crm, qa), 4000, status=status)
    assert prune() == PruneResult(contents=0, messages=0)
    assert Content.objects.get().message_id == message.pk


def test_the_days_are_counted_from_the_end_not_from_the_beginning(crm, qa):
    """A mail that was held for months and sent yesterday can still be read."""
    aged(send(crm, qa), 400, final_for=1)
    assert prune() == PruneResult(contents=0, messages=0)


def test_a_mail_held_for_long_keeps_its_content_when_it_is_sent_at_last(crm, qa, smtp_server):
    message = send(crm, qa)
    Message.objects.update(created=timezone.now() - timedelta(days=90), due=timezone.now() - timedelta(days=90))
    assert Message.objects.get().hold_reason == HoldReason.STAGE_NOT_CONFIGURED
    configure(qa, smtp_server, from_domains="*")
    answer(Scope(stage=qa), HeldAnswer.Choice.DELIVER, OPERATOR)
    deliver()
    assert Message.objects.get().status == Status.SENT
    assert prune() == PruneResult(contents=0, messages=0)
    assert Content.objects.filter(message=message).exists()


def test_it_goes_in_slices_however_much_there_is(crm, qa, monkeypatch):
    monkeypatch.setattr(retention, "MESSAGES_AT_ONCE", 10)
    for _ in range(35):
        aged(send(crm, qa), 40)
    held = aged(send(crm, qa), 40, status=Status.HELD)
    young = [send(crm, qa) for _ in range(25)]
    with CaptureQueriesContext(connection) as queries:
        assert prune() == PruneResult(contents=35, messages=0)
    assert sum(query["sql"].startswith('DELETE FROM "outbox_content"') for query in queries) <= 4
    assert Content.objects.filter(message=held).exists()
    assert Content.objects.count() == 1 + len(young)


def test_the_command_prunes_and_says_how_much(crm, qa):
    aged(send(crm, qa), 31)
    out = StringIO()
    call_command("prune_messages", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"contents": 1, "messages": 0}
    out = StringIO()
    call_command("prune_messages", stdout=out)
    assert out.getvalue() == "Removed: the content of 0 emails, and 0 emails.\n"


def test_the_worker_prunes_a_while_after_its_start_and_once_a_day(monkeypatch):
    every = {periodic.action: periodic for periodic in Worker(jobs=JOBS)._every}
    daily = every[PRUNE.start]
    assert daily.seconds == 24 * 3600
    runs: list[int] = []
    periodic = Periodic(3600.0, lambda: runs.append(1), first=3600.0)
    periodic.run_if_due()
    assert not runs
    periodic.next = 0.0
    periodic.run_if_due()
    periodic.run_if_due()
    assert runs == [1]


def test_pruning_beside_the_worker_really_prunes(crm, qa):
    aged(send(crm, qa), 31)
    PRUNE.start()
    wait_for_thread("prune")
    assert not Content.objects.exists()


def test_the_log_says_that_the_content_is_gone(as_administrator, crm, qa, settings):
    set_list(crm, qa, "ana@acme.example")
    message = aged(send(crm, qa, "customer@example.com"), 31)
    prune()
    page = as_administrator.get(reverse("email-log-message", args=["qa", message.pk])).content.decode()
    assert "The content was removed after 30 days." in page
    assert "customer@example.com" in page
    assert reverse("email-log-source", args=["qa", message.pk]) not in page
    assert '<span class="badge">Bcc</span>' not in page  # nobody knows any more
    assert as_administrator.get("/monitor/email-log/qa/").status_code == 200
    for gone in ("email-log-source", "email-log-html"):
        assert as_administrator.get(reverse(gone, args=["qa", message.pk])).status_code == 404
