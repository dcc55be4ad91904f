"""Whether emails can be accepted and delivered at this moment, and if not, why."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import OuterRef, Subquery

from common import sql
from common.clock import database_now
from common.database_trouble import WRITE_LOCK_HELD, write_lock_is_held
from delivery.connection_slots import living_workers
from delivery.models import StageQueue
from gateway.heartbeat import living_gateways
from gateway.models import Gateway
from organization.models import Stage
from outbox.backlog import depth_by_app
from outbox.models import WAITING, Message, Status
from portal import statements

HANGS = "The database doesn't answer."
_NO_CONNECTION = "The database has no connection left for the portal (max_connections)."
_READ_ONLY = "The database can only be read: nothing can be stored."
_NO_GATEWAY = "No gateway has reported lately: apps can't hand emails in. Start one with manage.py smtp_gateway."
_STORAGE_FULL = "The storage is full: nothing can be stored."
_NO_WORKER = "No worker has reported lately: nothing is delivered. Start one with manage.py deliver."
_NEARLY_ALL = 0.9
# Within the patience of who asks (see Watch). It is looked at only when a process hasn't reported for far longer.
_LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Readiness:
    """`causes`: why the portal can't do its work. `warnings`: what it will stumble over. `facts` are for monitoring."""

    causes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return not self.causes


def database_away(cause: str) -> Readiness:
    return Readiness([cause], facts={"database": False})


def look() -> Readiness:
    """Ask the database. Never raises for one that is away."""
    try:
        return _look()
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        return database_away(_NO_CONNECTION if _is_full_of_connections(error) else f"The database is away: {_first_line(error)}")


def _look() -> Readiness:
    gateways = list(living_gateways())
    worker = living_workers().exists()
    storage = _storage_has_room() and (not gateways or any(gateway.accepting for gateway in gateways))
    causes = [
        *([] if storage else [_STORAGE_FULL]),
        *([_READ_ONLY] if _is_read_only() else []),
        *(_missing(gateway=bool(gateways), worker=worker)),
    ]
    stages = _stages()
    facts = {
        "database": True,
        "storage": storage,
        "gateway": bool(gateways),
        "worker": worker,
        "oldest_queued_seconds": max((stage["oldest_waiting_seconds"] for stage in stages.values()), default=0),
        "stages": stages,
    }
    return Readiness(causes, [*_gateway_warnings(gateways), *_connection_warnings()], facts)


def _missing(*, gateway: bool, worker: bool) -> list[str]:
    """Which processes haven't reported. They can't while another one keeps the database locked."""
    if gateway and worker:
        return []
    if write_lock_is_held(_LOCK_SECONDS):
        return [WRITE_LOCK_HELD]
    return [*([] if gateway else [_NO_GATEWAY]), *([] if worker else [_NO_WORKER])]


def _stages() -> dict[str, dict[str, Any]]:
    """Each stage in which anything waits, is held, or keeps mail from going."""
    stages = list(Stage.objects.annotate(**{f"first_{status}": Subquery(_first(status)) for status in WAITING}))
    queues = {queue.stage_id: queue for queue in StageQueue.objects.filter(failures__gt=0)}
    held = depth_by_app(stages, Status.HELD)
    now = database_now()
    rows = {}
    for stage in stages:
        oldest = [moment for status in WAITING if (moment := getattr(stage, f"first_{status}"))]
        queue, depths = queues.get(stage.pk), held.get(stage.pk, {}).values()
        if oldest or queue or depths:
            rows[stage.key] = {
                "oldest_waiting_seconds": _seconds(min(oldest), now) if oldest else 0,
                "trouble": queue.code if queue else "",
                "paused": bool(queue and queue.paused),
                "held": sum(depth.mails for depth in depths),
            }
    return rows


def _first(status: Status) -> Any:
    """When the email was accepted that is first in the stage's queue: by the queue's index, however many wait."""
    return Message.objects.filter(stage=OuterRef("pk"), status=status).order_by("due").values("created")[:1]


def _seconds(since: datetime, now: datetime) -> int:
    return round(max(0.0, (now - since).total_seconds()))


def _storage_has_room() -> bool:
    """SQLite's disk is this machine's. PostgreSQL's may be another's: there the gateway tells (see Gateway)."""
    if connection.vendor != "sqlite":
        return True
    return bool(shutil.disk_usage(Path(connection.settings_dict["NAME"]).parent).free > settings.MESSAGE_MAX_BYTES)


def _is_read_only() -> bool:
    if connection.vendor != "postgresql":
        return False
    return sql.fetch(statements.IS_READ_ONLY) == [True]


def _gateway_warnings(gateways: Sequence[Gateway]) -> list[str]:
    return sorted({gateway.warning for gateway in gateways if gateway.warning})


def _connection_warnings() -> list[str]:
    """A process that has its connections goes on when there are no more, so that this is no reason to take it away."""
    if connection.vendor != "postgresql":
        return []
    (connections,) = sql.fetch(statements.CONNECTIONS_IN_USE)
    if connections.used < _NEARLY_ALL * connections.limit:
        return []
    return [f"{connections.used} of the database's {connections.limit} connections are in use."]


def _is_full_of_connections(error: BaseException) -> bool:
    """One that isn't there yet has no error code, only PostgreSQL's words."""
    return any(words in str(error) for words in ("too many clients", "too many connections", "remaining connection slots"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
