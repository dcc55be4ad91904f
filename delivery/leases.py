"""Whose a mail is while it is being sent.

Whoever takes a mail for the wire signs it with the name of its turn (`owner`) and holds it under a lease. Living workers
renew; when one dies or stalls its leases run out, and nobody knows whether those mails arrived: they go again. Every write
about a hand-over asks for name and lease, so that a worker that wakes up late overwrites nothing. Times are the database's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from common import sql
from common.clock import database_now
from delivery import statements
from delivery.retry_schedule import LONGEST_PAUSE, next_pause
from delivery.values import Hold
from organization.models import Stage
from outbox import event_log
from outbox.models import GIVEN_UP, WAITING, Attempt, Message, Recipient, Status
from outbox.states import sum_up

# A mail that outlives so many workers is what kills them.
DEATHS_UNTIL_FAILED = 5
_DIED = "The worker stopped during the hand-over. The mail may have arrived; it is sent again."
_TOO_MANY_DEATHS = f"{GIVEN_UP}: {DEATHS_UNTIL_FAILED} workers stopped while they handed this mail over. It may have arrived."


def ask_still_held(holds: Collection[Hold]) -> Callable[[], set[Hold]]:
    """Which of these mails are still under these names and leases. Their rows are locked until the transaction ends."""
    if not holds:
        return set
    under_lease = sql.ask(statements.UNDER_LEASE, sorted({message_id for message_id, _ in holds}))
    return lambda: set(holds).intersection(under_lease())


def renew(holds: Collection[Hold], lease: timedelta) -> set[Hold]:
    """Keep the leases that haven't run out yet; the others may be somebody else's by now. Returns those kept."""
    with transaction.atomic():
        now = database_now()
        kept = ask_still_held(holds)()
        messages = [message_id for message_id, _ in kept]
        sql.run(statements.RENEW_LEASES, sql.stored(now + lease), messages)
    return kept


def recover_abandoned() -> int:
    """Mails whose worker died or stalled while it handed them over go again, with the same Message-ID; the attempt says so.

    Nothing is deleted. Returns how many mails.
    """
    now = database_now()
    with transaction.atomic():
        abandoned = Message.objects.filter(
            Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + LONGEST_PAUSE),
            stage__in=Stage.objects.values("pk"),
            status=Status.SENDING,
        ).order_by("pk")
        messages = list(abandoned.select_for_update(skip_locked=True, of=("self",)))
        for message in messages:
            _send_again(message, now)
    return len(messages)


def _send_again(message: Message, now: datetime) -> None:
    """At once after the first death; then with the pauses of any other retry, since the mail may be what kills."""
    left = message.recipients.filter(status=Status.SENDING)
    Attempt.objects.bulk_create(
        Attempt(message=message, address=recipient.address, outcome=Attempt.Outcome.UNKNOWN, reply=_DIED, created=now)
        for recipient in left
    )
    event, reason = "email_deferred", _DIED
    deaths = message.attempts.filter(reply=_DIED).order_by().values("created").distinct().count()
    if deaths < DEATHS_UNTIL_FAILED:
        pause = next_pause(deaths - 1) if deaths > 1 else timedelta()
        left.update(status=Status.QUEUED, due=now + (pause or timedelta()), tries=F("tries") + 1)
    else:
        event, reason = "email_failed", _TOO_MANY_DEATHS
        left.update(status=Status.FAILED, last_reply=_TOO_MANY_DEATHS, finished=now)
    sum_up(message)
    transaction.on_commit(lambda: event_log.ended(message, event, reason), robust=True)


def heal_clock_jumps() -> None:
    """A due time beyond the longest pause comes from a clock that jumped: such mail is due now."""
    now = database_now()
    waiting = Message.objects.filter(stage__in=Stage.objects.values("pk"), status__in=WAITING)
    far = waiting.filter(due__gt=now + LONGEST_PAUSE).order_by().select_for_update(skip_locked=True, of=("self",))
    with transaction.atomic():
        late = list(far.values_list("pk", flat=True)[:10_000])
        Message.objects.filter(pk__in=late, status__in=WAITING).update(due=now)
        Recipient.objects.filter(message__in=late, due__gt=now + LONGEST_PAUSE).update(due=now)
