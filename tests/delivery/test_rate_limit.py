"""How many messages leave a stage in a minute."""

from __future__ import annotations

import time

import pytest
from django.utils import timezone

from delivery.models import StageBackoff
from outbox.models import Attempt, Message, Status
from tests.support.outbox import deliver, now_due, send
from tests.support.portal import configure

pytestmark = pytest.mark.django_db(transaction=True)


def test_no_more_mails_leave_in_a_minute_than_the_stage_allows(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", mails_per_minute=120, connections=4)
    moments = []
    smtp_server.data = lambda _: moments.append(time.monotonic())
    for _ in range(16):
        send(crm, qa)
    deliver()
    assert len(moments) == 16
    assert smtp_server.connections <= 2
    after_the_burst = [moment for moment in moments if moment > moments[0] + 0.4]
    assert len(after_the_burst) >= 4  # ten may go at once (5 seconds' worth); the others two a second
    assert moments[-1] - moments[0] > 2.0


def test_a_limit_keeps_the_connection_open_and_ends_when_nothing_is_left(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", mails_per_minute=60, connections=1)
    for _ in range(3):
        send(crm, qa)
    StageBackoff.objects.create(stage=qa, allowance=1, allowance_at=timezone.now())
    Message.objects.filter(pk=Message.objects.last().pk).delete()
    deliver()
    assert (len(smtp_server.arrived), smtp_server.connections) == (2, 1)


@pytest.mark.parametrize(
    ("where", "reply", "slower"),
    [
        ("data", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", True),
        ("data", "454 4.7.0 Throttling failure: Maximum sending rate exceeded.", True),
        ("mail", "450 4.7.28 unusual rate of mail", True),
        ("rcpt", "450 4.2.1 too many messages for this recipient; slow down", True),
        ("rcpt", "451 4.7.1 Greylisted, try again in 300 seconds", False),
        ("data", "451 4.7.1 Greylisting in action", False),
        ("rcpt", "450 4.2.1 mailbox busy", False),
        ("data", "451 4.3.0 temporary failure", False),
    ],
)
def test_a_server_that_asks_for_fewer_mails_slows_its_stage_down(crm, qa, smtp_server, where, reply, slower):
    configure(qa, smtp_server, from_domains="*", connections=1)
    setattr(smtp_server, where, lambda _: reply)
    for _ in range(6):
        send(crm, qa)
    deliver()
    tried = Attempt.objects.values("message").distinct().count()
    trouble = StageBackoff.objects.filter(stage=qa, failures=1).first()
    assert (bool(trouble), tried <= 2) == (slower, slower)
    if slower:
        assert trouble.code == "throttled"
        assert reply[:20] in trouble.evidence
        assert not trouble.paused
        now_due()
        deliver()
        assert StageBackoff.objects.get(stage=qa).failures == 2
    setattr(smtp_server, where, lambda _: None)
    for _ in range(2):
        now_due()
        deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert not StageBackoff.objects.filter(failures__gt=0).exists()
