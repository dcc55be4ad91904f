"""Who works on a mail. A claim sets owner and lease and leaves the status as it is: when a worker dies, its lease runs
out and another takes over, and nothing is lost or sent twice by that.

All times are the database's.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet

from outbox.clock import database_now
from outbox.models import WAITING, Attempt, Message, Recipient, Status

LEASE = timedelta(seconds=60)
RENEW_EVERY = timedelta(seconds=20)
# Longer than any pause we set: a due time further off comes from a clock that jumped, and counts as due.
LONGEST_PAUSE = timedelta(hours=2)


def new_owner() -> str:
    return uuid.uuid4().hex


def due_messages(now: datetime) -> QuerySet[Message]:
    """What a worker may claim at `now`."""
    return Message.objects.filter(
        Q(due__lte=now) | Q(due__gt=now + LONGEST_PAUSE),
        Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + LONGEST_PAUSE),
        status__in=WAITING,
    )


def stages_with_due_mail(now: datetime) -> list[int]:
    return list(due_messages(now).order_by().values_list("stage_id", flat=True).distinct())


def count_due(stage_id: int, now: datetime, at_most: int) -> int:
    """How many of the stage's mails are due, counted no further than `at_most`."""
    return due_messages(now).filter(stage_id=stage_id).order_by()[:at_most].count()


class Claimed(NamedTuple):
    """A mail that is ours for the length of a lease, and the app and stage whose test list decides about it."""

    message_id: int
    place: tuple[int, int]


def claim(stage_id: int, owner: str, limit: int) -> list[Claimed]:
    """Up to `limit` due mails of the stage, oldest first, now `owner`'s."""
    now = database_now()
    batch = due_messages(now).filter(stage_id=stage_id).order_by("due", "pk")
    with transaction.atomic():
        if connection.features.has_select_for_update_skip_locked:
            batch = batch.select_for_update(skip_locked=True)
        found = [Claimed(pk, (app_id, stage_id)) for pk, app_id in batch.values_list("pk", "app_id")[:limit]]
        Message.objects.filter(pk__in=[one.message_id for one in found]).update(owner=owner, lease_until=now + LEASE)
    return found


def renew(owner: str) -> None:
    """Keep the leases of a living owner: those that have not run out yet. The others may be somebody else's by now."""
    now = database_now()
    Message.objects.filter(owner=owner, lease_until__gt=now).update(lease_until=now + LEASE)


def release(owner: str, **place: int) -> None:
    """Give back what was claimed (in the stage `stage_id`, or everywhere) and not handed over: it is anybody's again."""
    Message.objects.filter(owner=owner, status__in=WAITING, **place).update(owner="", lease_until=None)


def owned(owners: Collection[str], now: datetime, *statuses: Status) -> QuerySet[Message]:
    """The fence around every write: only mails that are still these owners', under a lease that has not run out."""
    return Message.objects.filter(owner__in=owners, lease_until__gt=now, status__in=statuses)


def recover_abandoned() -> int:
    """Mails that were being handed over when their worker died or stalled: nobody knows whether they arrived.

    They are queued again with the same Message-ID, and the attempt says so. Returns how many.
    """
    now = database_now()
    with transaction.atomic():
        abandoned = Message.objects.filter(status=Status.SENDING).filter(
            Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_until__gt=now + LONGEST_PAUSE)
        )
        if connection.features.has_select_for_update_skip_locked:
            abandoned = abandoned.select_for_update(skip_locked=True)
        ids = list(abandoned.values_list("pk", flat=True))
        if not ids:
            return 0
        left = Recipient.objects.filter(message__in=ids, status=Status.SENDING)
        Attempt.objects.bulk_create(
            Attempt(
                message_id=recipient.message_id,
                address=recipient.address,
                outcome=Attempt.Outcome.UNKNOWN,
                reply="The worker stopped during the hand-over. The mail may have arrived; it is sent again.",
            )
            for recipient in left
        )
        left.update(status=Status.QUEUED, due=now, tries=F("tries") + 1)
        Message.objects.filter(pk__in=ids).update(status=Status.QUEUED, due=now, owner="", lease_until=None)
    return len(ids)
