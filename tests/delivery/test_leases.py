"""Which worker has a message, and until when."""

from __future__ import annotations

import pytest
from django.db import transaction
from django.utils import timezone

from delivery.claims.claim import query_claim
from delivery.config import DeliveryConfig
from delivery.leases import recover_abandoned
from delivery.values import Claim, Outcome
from emailconfig.models import SmtpSettings
from organization.models import Member, Stage
from outbox.models import Attempt, Status
from outbox.states import release_what_waits
from tests.support.outbox import deliver, leases_run_out, now_due, outcomes, report, send, set_list, statuses, take

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_watch_over_leases_ends_no_connection_that_is_in_order(crm, qa, configured, smtp_server):
    for _ in range(100):
        send(crm, qa)
    deliver(DeliveryConfig(watch_seconds=0.0))
    assert not Attempt.objects.exclude(outcome="sent").values_list("reply", "step")
    assert Attempt.objects.count() == 100
    assert smtp_server.connections <= configured.connections + 1


def test_a_worker_that_died_during_hand_over_leaves_an_unknown_outcome_and_the_mail_goes_again(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    assert [message.pk for message in take(qa, 10)] == [message.pk]
    deliver()
    assert smtp_server.arrived == []  # still under lease
    leases_run_out()
    deliver()
    assert len(smtp_server.arrived) == 1
    assert outcomes(message) == [("customer@example.com", "unknown"), ("customer@example.com", "sent")]


def claim_and_die(stage: Stage) -> None:
    """A worker claims what is due, and dies before it has checked any of it."""
    claim, version = Claim("dead", DeliveryConfig().lease), SmtpSettings.objects.get(stage=stage).version
    with transaction.atomic():
        assert query_claim(stage.pk, 10, claim, version)().messages
    leases_run_out()


def test_nobody_may_have_got_a_mail_that_was_caught_when_its_worker_died(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    set_list(crm, qa, "tess@acme.example")
    claim_and_die(qa)
    deliver()
    assert outcomes(message) == [("tess@acme.example", "sent")]


def test_a_mail_that_was_held_for_nobody_survives_the_death_of_its_worker(crm, qa, configured, smtp_server, viewer):
    set_list(crm, qa, viewer.email)
    Member.objects.filter(pk=viewer.pk).update(is_active=False)
    message = send(crm, qa)
    assert message.status == Status.HELD
    Member.objects.filter(pk=viewer.pk).update(is_active=True)
    release_what_waits()
    claim_and_die(qa)
    deliver()
    assert outcomes(message) == [(viewer.email, "sent")]


def test_a_mail_that_kills_its_workers_ends_as_failed(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    for death in range(1, 6):
        now_due()
        assert take(qa, 10)
        leases_run_out()
        assert recover_abandoned() == 1
        recipient = message.recipients.get()
        assert (recipient.tries, recipient.due > timezone.now()) == (min(death, 4), 1 < death < 5)
    message.refresh_from_db()
    assert message.status == Status.FAILED
    assert recipient.last_reply.startswith("Given up: 5 workers stopped")


def test_a_stalled_worker_can_neither_hand_over_nor_overwrite(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    (claimed,) = take(qa, 10)
    leases_run_out()
    deliver()
    report(claimed, Outcome(claimed.recipients[0], Attempt.Outcome.FAILED, "DATA", 550, "550 too late"))
    assert take(qa, 10) == []
    message.refresh_from_db()
    assert message.status == Status.SENT


def test_an_outcome_of_one_hand_over_is_not_taken_for_that_of_a_later_one(crm, qa, configured):
    """Also by the same worker: each turn has a name of its own."""
    message = send(crm, qa)
    (first,) = take(qa, 10)
    leases_run_out()
    recover_abandoned()
    (second,) = take(qa, 10)
    report(first, Outcome(first.recipients[0], Attempt.Outcome.FAILED, "DATA", 550, "550 too late"))
    assert statuses(message) == {"customer@example.com": "sending"}
    report(second, Outcome(second.recipients[0], Attempt.Outcome.SENT, "content", 250, "250 Ok"))
    assert statuses(message) == {"customer@example.com": "sent"}
