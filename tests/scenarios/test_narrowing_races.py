"""A recipient policy that becomes narrower at the very moment in which a worker claims email: nothing leaves afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from django.db import connection, transaction

from delivery.claims.claim import ANY_NUMBER, check, query_claim
from delivery.claims.in_force import query_in_force
from delivery.config import DeliveryConfig
from delivery.statements import STAGE_NOW
from delivery.values import Claim, Outcome
from emailconfig.models import SmtpSettings
from organization.models import App, Stage
from organization.recipient_policy.changes import allow, change_policy, disallow, emails_leaving
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import save_app
from organization.signals import stage_narrowing
from outbox.models import Attempt, Message, Status
from tests.support.interleaving import right_before, wait_until_blocked
from tests.support.outbox import report, send, statuses, take
from tests.support.portal import OPERATOR

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("configured")]

DAN = "dan@allowed.example"


@pytest.fixture
def smtp_server():
    """Nothing is sent here."""
    return None


def narrow(stage: Stage) -> None:
    change_policy(stage, RecipientPolicy.NOBODY, OPERATOR)


def disallow_dan(stage: Stage) -> None:
    disallow(stage, DAN, OPERATOR)


@pytest.fixture(params=[narrow, disallow_dan], ids=["policy", "allowed address"])
def narrowing(request: pytest.FixtureRequest, qa: Stage) -> Callable[[Stage], None]:
    """A change to the narrower that catches an email to Dan, which is due before."""
    allow(qa, [DAN], OPERATOR, typed_stage_name=qa.name)
    change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    return request.param


def test_a_claim_sees_what_became_narrower_after_it_read_what_is_due(crm, qa, narrowing):
    message = send(crm, qa, DAN)
    # In a transaction of the test nothing is sent together, so that the change comes between two statements.
    with transaction.atomic(), right_before(STAGE_NOW.statement.text, lambda: narrowing(qa)):
        assert take(qa, 1) == []
    assert statuses(message) == {DAN: Status.CAPTURED}
    assert emails_leaving(qa) == 0


@pytest.mark.requires_postgresql  # SQLite has one writer at a time
def test_a_change_waits_for_a_claim_that_has_begun_and_counts_it(crm, qa, narrowing):
    send(crm, qa, DAN)
    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            claim = Claim("worker", DeliveryConfig().lease)
            read_claimed = query_claim(qa.pk, 1, claim, SmtpSettings.objects.get(stage=qa).version)
            change = other.submit(in_own_connection, narrowing, qa)
            wait_until_blocked()  # by the claim's locks
            in_force = query_in_force(qa.pk)()
        ((claimed,), _) = check(read_claimed(), claim, in_force, ANY_NUMBER)
        change.result(30)
    assert emails_leaving(qa) == 1
    report(claimed, Outcome(claimed.recipients[0], Attempt.Outcome.SENT, "data", 250, "Ok"))
    assert emails_leaving(qa) == 0


@pytest.mark.requires_postgresql
def test_a_claim_passes_over_a_stage_that_becomes_narrower(crm, qa, narrowing):
    message = send(crm, qa, DAN)
    with narrowing_slowly(qa, narrowing):
        assert take(qa, 1) == []
        assert Message.objects.get(pk=message.pk).status == Status.QUEUED
    assert take(qa, 1) == []
    assert statuses(message) == {DAN: Status.CAPTURED}


@pytest.mark.requires_postgresql
def test_a_new_app_waits_for_the_end_of_a_change(qa, narrowing):
    """Its lock isn't among those of the change, so a worker could claim its first email by the wider policy."""
    with ThreadPoolExecutor(1) as other:
        with narrowing_slowly(qa, narrowing):
            creation: Future[App] = other.submit(in_own_connection, save_app, App(key="billing", name="Billing"), OPERATOR)
            wait_until_blocked()
        message = send(creation.result(30), qa, DAN)
    assert take(qa, 1) == []
    assert statuses(message) == {DAN: Status.CAPTURED}


def in_own_connection(act, *arguments):
    with closing(connection):
        return act(*arguments)


@contextmanager
def narrowing_slowly(stage: Stage, narrowing: Callable[[Stage], None]) -> Iterator[None]:
    """The change has its locks, and isn't committed before the block ends."""
    has_locks, may_end = threading.Event(), threading.Event()

    def wait(**_: object) -> None:
        has_locks.set()
        may_end.wait(60)

    stage_narrowing.connect(wait)
    try:
        with ThreadPoolExecutor(1) as other:
            change = other.submit(in_own_connection, narrowing, stage)
            try:
                assert has_locks.wait(30)
                yield
            finally:
                may_end.set()
            change.result(30)
    finally:
        stage_narrowing.disconnect(wait)
