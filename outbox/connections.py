"""How many connections to a stage's server are open at once, over all workers: no more than its settings allow."""

from __future__ import annotations

import math

from django.db import transaction
from django.db.models.functions import Now

from emailconfig.models import SmtpSettings
from outbox import stage_queue
from outbox.models import Connection, Worker

_PER_CONNECTION_AND_MINUTE = 60


def register(worker: str) -> None:
    """The worker lives: it says so when it starts and every few seconds from then on."""
    Worker.objects.update_or_create(name=worker, defaults={"seen": Now()})


def forget(worker: str) -> None:
    """The worker has ended, and its connections with it."""
    Worker.objects.filter(name=worker).delete()


def forget_the_dead() -> None:
    """Workers that were killed don't say so; what they had open is free again."""
    Worker.objects.filter(seen__lt=Now() - Worker.STALE_AFTER).delete()


def take(worker: str, stage_id: int) -> Connection | None:
    """A place among the stage's connections; None when all are taken. A stage in trouble has one, to probe with."""
    with transaction.atomic():
        queue = stage_queue.locked(stage_id)
        allowed = 1 if queue.failures else allowed_connections(stage_id)
        if Connection.objects.filter(stage=stage_id).count() >= allowed:
            return None
        return Connection.objects.create(worker_id=worker, stage_id=stage_id)


def free(connection: Connection) -> None:
    Connection.objects.filter(pk=connection.pk).delete()


def allowed_connections(stage_id: int) -> int:
    """As many as the settings say; fewer where their limit of mails a minute would leave them idle."""
    found = SmtpSettings.objects.filter(stage_id=stage_id).values_list("connections", "mails_per_minute").first()
    if found is None:
        return 1
    connections, per_minute = found
    return min(connections, math.ceil(per_minute / _PER_CONNECTION_AND_MINUTE)) if per_minute else connections


def taken(stage_id: int) -> int:
    return Connection.objects.filter(stage=stage_id).count()
