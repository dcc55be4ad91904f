"""Limit the connections to a stage's server that all workers have open at once.

There are never more than the stage's settings allow. They are shared out evenly, so that the first worker doesn't leave the
others idle.
"""

from __future__ import annotations

import math
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from common.clock import boottime, database_now
from delivery import backoff
from delivery.models import ConnectionSlot, Worker
from emailconfig.models import SmtpSettings

_PER_CONNECTION_AND_MINUTE = 60
_FORGOTTEN_AFTER = timedelta(minutes=10)


def register(worker: str) -> None:
    """Record that the worker is alive. It calls this when it starts, and every few seconds from then on."""
    Worker.objects.update_or_create(name=worker, defaults={"seen": Now()})


def unregister(worker: str) -> None:
    """Remove a worker that has ended, with its connections."""
    Worker.objects.filter(name=worker).delete()


def unregister_dead() -> None:
    """Remove the workers that were killed, which could not do so themselves.

    Their connections count as free long before. The rows stay longer, because a worker that was only stopped must find its own.
    """
    with transaction.atomic():
        dead = Worker.objects.filter(seen__lt=Now() - _FORGOTTEN_AFTER).select_for_update(skip_locked=True)
        Worker.objects.filter(pk__in=list(dead.values_list("pk", flat=True))).delete()


def living_workers() -> QuerySet[Worker]:
    """The workers that have reported lately, by the database's clock."""
    return Worker.objects.filter(seen__gt=Now() - Worker.STALE_AFTER)


def acquire(worker: str, stage_id: int, at_most: int) -> list[ConnectionSlot]:
    """Acquire up to `at_most` of the stage's connections: those that are free, and no more than this worker's share.

    A stage that backs off has one connection to probe with, besides those that hang. The list is empty while another worker
    acquires some.
    """
    with transaction.atomic():
        queue = backoff.try_locked(stage_id)
        if queue is None:
            return []
        allowed, living = allowed_connections(stage_id), living_workers()
        slots = ConnectionSlot.objects.filter(stage=stage_id, worker__in=living)
        if queue.failures:
            allowed = min(allowed, 1 + slots.exclude(silent_since=None).count())
        holders = list(slots.values_list("worker_id", flat=True))
        share = math.ceil(allowed / max(1, living.count()))
        free_slots = min(at_most, allowed - len(holders), share - holders.count(worker))
        return ConnectionSlot.objects.bulk_create(ConnectionSlot(worker_id=worker, stage_id=stage_id) for _ in range(free_slots))


def release(slot: ConnectionSlot) -> None:
    ConnectionSlot.objects.filter(pk=slot.pk).delete()


def note_silence(slot: ConnectionSlot, message_id: int | None, since: float) -> None:
    """Record that the server hasn't answered about this message `since` a time by boottime(). None: it answers again."""
    began = database_now() - timedelta(seconds=boottime() - since) if message_id else None
    ConnectionSlot.objects.filter(pk=slot.pk).update(silent_since=began, silent_about=message_id)


def silent_connections(stage_key: str) -> QuerySet[ConnectionSlot]:
    """The connections over which the stage's server doesn't answer, the longest silence first."""
    silent = ConnectionSlot.objects.filter(stage__key=stage_key, worker__in=living_workers()).exclude(silent_since=None)
    return silent.select_related("stage").order_by("silent_since")


def release_all(worker: str) -> None:
    """Release the connections that the worker's sessions could not release."""
    ConnectionSlot.objects.filter(worker=worker).delete()


def allowed_connections(stage_id: int) -> int:
    """How many connections the stage may have; 0 without settings."""
    limits = SmtpSettings.objects.filter(stage_id=stage_id).values_list("connections", "mails_per_minute").first()
    return useful_connections(*limits) if limits else 0


def useful_connections(connections: int, mails_per_minute: int) -> int:
    """As many as the settings say, or fewer where their limit of messages per minute would leave some idle."""
    if not mails_per_minute:
        return connections
    return min(connections, math.ceil(mails_per_minute / _PER_CONNECTION_AND_MINUTE))
