"""Leases: which worker a message belongs to while it is being sent.

A worker that claims a message writes the name of the claim (`owner`) on it and holds it under a lease. Living workers renew
their leases. When a worker dies or stalls, its leases run out. It is not known then whether its messages arrived, so they are
sent again. Every write about a claimed message checks name and lease, so that a worker that wakes up late overwrites nothing.
All times are the database's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from common import sql
from common.clock import database_now
from delivery import statements
from delivery.retry_schedule import LONGEST_PAUSE, next_pause
from delivery.values import LeaseKey
from organization.models import Stage
from outbox import event_log
from outbox.models import GIVEN_UP, WAITING, Attempt, Message, Recipient, Status
from outbox.states import sum_up

# When this many workers died over a message, the message is what kills them.
DEATHS_UNTIL_FAILED = 5
# The deaths of a message are counted by this text of its attempts. So a new wording would lose those that are stored.
_DIED = "The worker stopped while it sent the email. The email may have arrived; it is sent again."
_TOO_MANY_DEATHS = f"{GIVEN_UP}: {DEATHS_UNTIL_FAILED} workers stopped while they sent this email. It may have arrived."


def query_still_held(keys: Collection[LeaseKey]) -> Callable[[], set[LeaseKey]]:
    """Which of these messages are still under these names and leases. Their rows are locked until the transaction ends."""
    if not keys:
        return set
    under_lease = sql.query_lazy(statements.UNDER_LEASE, sorted({message_id for message_id, _ in keys}))
    return lambda: set(keys).intersection(under_lease())


def renew(keys: Collection[LeaseKey], lease: timedelta) -> set[LeaseKey]:
    """Renew the leases that haven't run out yet, and return them. Another worker may hold the others by now."""
    with transaction.atomic():
        now = database_now()
        kept = query_still_held(keys)()
        messages = [message_id for message_id, _ in kept]
        sql.run(statements.RENEW_LEASES, sql.to_db_time(now + lease), messages)
    return kept


def queue_again(message_ids: Sequence[int], owner: str) -> None:
    """Queue messages at once, in the caller's transaction.

    They were claimed under this name, and no server was asked about them.
    """
    ours = [message_id for message_id, _ in query_still_held({(message_id, owner) for message_id in message_ids})()]
    if ours:
        Recipient.objects.filter(message__in=ours, status=Status.SENDING).update(status=Status.QUEUED)
        Message.objects.filter(pk__in=ours).update(status=Status.QUEUED, owner="", lease_until=None)


def recover_abandoned() -> int:
    """Queue the messages whose worker died or stalled while it sent them. Returns how many there were.

    They go again with the same Message-ID, and an attempt records that. Nothing is deleted.
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
    """Queue the message at once after the first death, and later with the pauses of any other retry.

    The message may be what kills the workers.
    """
    if not message.recipients.exists():  # it was held with none to get it, and its worker died before it was routed again
        Message.objects.filter(pk=message.pk).update(status=Status.QUEUED, owner="", lease_until=None)
        return
    left = message.recipients.filter(status=Status.SENDING)
    Attempt.objects.bulk_create(
        Attempt(
            message=message,
            address=recipient.address,
            rule=recipient.rule,
            outcome=Attempt.Outcome.UNKNOWN,
            reply=_DIED,
            created=now,
        )
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
    """Make messages due now whose due time is beyond the longest pause.

    Such a time comes from a clock that jumped.
    """
    now = database_now()
    waiting = Message.objects.filter(stage__in=Stage.objects.values("pk"), status__in=WAITING)
    far = waiting.filter(due__gt=now + LONGEST_PAUSE).order_by().select_for_update(skip_locked=True, of=("self",))
    with transaction.atomic():
        late = list(far.values_list("pk", flat=True)[:10_000])
        Message.objects.filter(pk__in=late, status__in=WAITING).update(due=now)
        Recipient.objects.filter(message__in=late, due__gt=now + LONGEST_PAUSE).update(due=now)
