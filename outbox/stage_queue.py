"""A stage's back-off: trouble before MAIL FROM belongs to the server, not to a mail, and counts on none.

While it lasts the stage's mail waits, and one connection at a time probes. Saving the settings starts at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import QuerySet

from emailconfig.connection import ConnectionTrouble
from organization import audit
from organization.models import Stage
from organization.permissions import Actor, Permission, Scope, require
from outbox import wake_up
from outbox.clock import database_now
from outbox.models import StageQueue

log = structlog.get_logger(__name__)

# A server that can't be reached: 5 s, doubling to 60 s. One that refuses us waits for a person: 1 min, doubling to 30 min.
_UNREACHABLE = (timedelta(seconds=5), timedelta(seconds=60))
_REFUSED = (timedelta(minutes=1), timedelta(minutes=30))


def pause_after(failures: int, *, needs_a_person: bool) -> timedelta:
    """How long the stage waits after so many failures in a row (1 is the first)."""
    first, longest = _REFUSED if needs_a_person else _UNREACHABLE
    doublings: int = 2 ** min(failures - 1, 20)
    return min(first * doublings, longest)


def note_trouble(stage_id: int, trouble: ConnectionTrouble) -> None:
    """Back off. Several connections that fail in the same moment count once."""
    now = database_now()
    with transaction.atomic():
        queue = locked(stage_id)
        if _waiting(now).filter(pk=stage_id).exists():
            return
        if queue.failures == 0:
            queue.since = now
            log.warning("stage_in_trouble", stage=stage_id, step=trouble.step, code=trouble.code, evidence=trouble.evidence)
        queue.failures += 1
        queue.paused = trouble.needs_a_person
        queue.retry_at = now + pause_after(queue.failures, needs_a_person=trouble.needs_a_person)
        queue.step, queue.code, queue.evidence = trouble.step, trouble.code, trouble.evidence[:1000]
        queue.save()


def locked(stage_id: int) -> StageQueue:
    """The stage's row, locked until the caller's transaction ends."""
    StageQueue.objects.get_or_create(stage_id=stage_id)
    return StageQueue.objects.select_for_update().get(stage_id=stage_id)


def clear(stage_id: int) -> None:
    """The server takes mail again, or the settings were changed: the mail goes at once. Writes only after trouble."""
    recovered = StageQueue.objects.filter(stage_id=stage_id, failures__gt=0).update(
        failures=0, paused=False, retry_at=None, since=None, step="", code="", evidence=""
    )
    if recovered:
        log.info("stage_trouble_over", stage=stage_id)


def waits(stage_id: int, now: datetime) -> bool:
    """Whether the stage backs off at `now`."""
    return _waiting(now).filter(stage_id=stage_id).exists()


def in_trouble(stage_id: int) -> bool:
    return StageQueue.objects.filter(stage_id=stage_id, failures__gt=0).exists()


def trouble_of(stage_key: str) -> StageQueue | None:
    """What a person should see about the stage's server; None when all is well."""
    return StageQueue.objects.filter(stage__key=stage_key, failures__gt=0).select_related("stage").first()


def all_in_trouble() -> list[StageQueue]:
    return list(StageQueue.objects.filter(failures__gt=0))


def resume(stage: Stage, actor: Actor) -> None:
    """A person says that the server can be tried again. Raises PermissionDenied."""
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        clear(stage.pk)
        audit.record(actor, "Resume deliveries", stage)
        wake_up.after_commit()


def _waiting(now: datetime) -> QuerySet[StageQueue]:
    """A pause beyond the longest comes from a clock that jumped, and is over."""
    return StageQueue.objects.filter(retry_at__gt=now, retry_at__lte=now + _REFUSED[1])
