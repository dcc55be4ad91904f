"""How many connections to a stage's server are open at once, over all workers: no more than its settings allow, and shared
out evenly, so that a worker that comes first doesn't leave the others idle."""

from __future__ import annotations

import math
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from emailconfig.models import SmtpSettings
from outbox import stage_queue
from outbox.models import Connection, Worker

_PER_CONNECTION_AND_MINUTE = 60
_FORGOTTEN_AFTER = timedelta(minutes=10)


def register(worker: str) -> None:
    """The worker lives: it says so when it starts and every few seconds from then on."""
    Worker.objects.update_or_create(name=worker, defaults={"seen": Now()})


def forget(worker: str) -> None:
    """The worker has ended, and its connections with it."""
    Worker.objects.filter(name=worker).delete()


def forget_the_dead() -> None:
    """Workers that were killed don't say so. Long after what they had open counts as free again: a worker that was only
    stopped must find itself."""
    Worker.objects.filter(seen__lt=Now() - _FORGOTTEN_AFTER).delete()


def living_workers() -> QuerySet[Worker]:
    """Those that have reported lately, by the database's clock."""
    return Worker.objects.filter(seen__gt=Now() - Worker.STALE_AFTER)


def take(worker: str, stage_id: int, wanted: int) -> list[Connection]:
    """Up to `wanted` places among the stage's connections: as many as are free, and no more than this worker's share of them.

    A stage in trouble has one, to probe with.
    """
    with transaction.atomic():
        queue = stage_queue.locked(stage_id)
        allowed = 1 if queue.failures else allowed_connections(stage_id)
        living = living_workers()
        holders = list(Connection.objects.filter(stage=stage_id, worker__in=living).values_list("worker_id", flat=True))
        share = math.ceil(allowed / max(1, living.count()))
        free_now = min(wanted, allowed - len(holders), share - holders.count(worker))
        return Connection.objects.bulk_create(Connection(worker_id=worker, stage_id=stage_id) for _ in range(free_now))


def free(connection: Connection) -> None:
    Connection.objects.filter(pk=connection.pk).delete()


def free_all(worker: str) -> None:
    """What the worker's sessions had, and could not free."""
    Connection.objects.filter(worker=worker).delete()


def allowed_connections(stage_id: int) -> int:
    """As many as the settings say, fewer where their limit of mails a minute would leave them idle; 0 without settings."""
    found = SmtpSettings.objects.filter(stage_id=stage_id).values_list("connections", "mails_per_minute").first()
    if found is None:
        return 0
    connections, per_minute = found
    return min(connections, math.ceil(per_minute / _PER_CONNECTION_AND_MINUTE)) if per_minute else connections
