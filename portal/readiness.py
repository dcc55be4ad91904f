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
from delivery.models import StageBackoff
from gateway.heartbeat import living_gateways
from gateway.models import Gateway
from organization.installation.seal import is_copy, is_taken_for_copy
from organization.models import Stage
from outbox.counts.backlog import count_held
from outbox.models import WAITING, Message, Status
from portal import statements

HANGS = "The database doesn't answer."
_NO_CONNECTION = "The database has no connection left for the portal (max_connections)."
_READ_ONLY = "The database is read-only: nothing can be stored."
_NO_GATEWAY = "No gateway has reported lately: apps can't send emails. Start one with manage.py smtp_gateway."
_STORAGE_FULL = "The storage is full: nothing can be stored."
_NO_WORKER = "No worker has reported lately: nothing is delivered. Start one with manage.py deliver."
_COPY = (
    "This database is a copy of another installation's: nothing is sent until a person answers. "
    "See Management, Installation, or manage.py installation."
)
_FOREIGN_PROCESS = (
    "A worker or gateway with another installation id or database path treats this database as a copy and sends nothing. "
    "Give all processes the same INSTALLATION_ID and DATABASE_URL."
)
_NEARLY_ALL = 0.9
# Shorter than a probe waits (see Watch). It is checked only if a process hasn't reported for much longer.
_LOCK_SECONDS = 0.5


@dataclass(frozen=True)
class Readiness:
    """The result of a check.

    `causes` say why the portal can't do its work. `warnings` name problems to come. `facts` are for monitoring.
    """

    causes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return not self.causes


def database_away(cause: str) -> Readiness:
    return Readiness([cause], facts={"database": False})


def check() -> Readiness:
    """Ask the database. Never raises if it is unavailable."""
    try:
        return _check()
    except (DatabaseError, InterfaceError) as error:
        connection.close()
        away = f"The database can't be reached: {_first_line(error)}"
        return database_away(_NO_CONNECTION if _is_full_of_connections(error) else away)


def _check() -> Readiness:
    gateways = list(living_gateways())
    worker = living_workers().exists()
    copy = is_copy()
    storage = _storage_has_room() and (not gateways or any(gateway.accepting for gateway in gateways))
    causes = [
        *([] if storage else [_STORAGE_FULL]),
        *([_READ_ONLY] if _is_read_only() else []),
        *([_COPY] if copy else []),
        *(_missing(gateway=bool(gateways), worker=worker)),
    ]
    stages = _stages()
    facts = {
        "database": True,
        "storage": storage,
        "gateway": bool(gateways),
        "worker": worker,
        "copy": copy,
        "oldest_queued_seconds": max((stage["oldest_waiting_seconds"] for stage in stages.values()), default=0),
        "stages": stages,
    }
    foreign = [_FOREIGN_PROCESS] if not copy and is_taken_for_copy() else []
    return Readiness(causes, [*foreign, *_gateway_warnings(gateways), *_connection_warnings()], facts)


def _missing(*, gateway: bool, worker: bool) -> list[str]:
    """Return which processes haven't reported. They can't report while another one locks the database."""
    if gateway and worker:
        return []
    if write_lock_is_held(_LOCK_SECONDS):
        return [WRITE_LOCK_HELD]
    return [*([] if gateway else [_NO_GATEWAY]), *([] if worker else [_NO_WORKER])]


def _stages() -> dict[str, dict[str, Any]]:
    """Return each stage in which messages wait or are held, or which is in trouble."""
    stages = list(Stage.objects.annotate(**{f"first_{status}": Subquery(_first(status)) for status in WAITING}))
    backoffs = {backoff.stage_id: backoff for backoff in StageBackoff.objects.filter(failures__gt=0)}
    held = count_held(stages).by_app()
    now = database_now()
    rows = {}
    for stage in stages:
        oldest = [moment for status in WAITING if (moment := getattr(stage, f"first_{status}"))]
        backoff, depths = backoffs.get(stage.pk), held.get(stage.pk, {}).values()
        if oldest or backoff or depths:
            rows[stage.key] = {
                "oldest_waiting_seconds": _seconds(min(oldest), now) if oldest else 0,
                "trouble": backoff.code if backoff else "",
                "paused": bool(backoff and backoff.paused),
                "held": sum(depth.messages for depth in depths),
            }
    return rows


def _first(status: Status) -> Any:
    """Return when the first email in the stage's queue was accepted. It uses the queue's index, however many wait."""
    return Message.objects.filter(stage=OuterRef("pk"), status=status).order_by("due").values("created")[:1]


def _seconds(since: datetime, now: datetime) -> int:
    return round(max(0.0, (now - since).total_seconds()))


def _storage_has_room() -> bool:
    """Return whether the disk has room. For PostgreSQL, whose disk may be elsewhere, the gateway reports it (see Gateway)."""
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
    """Warn if few connections are left. The portal's processes keep theirs, so this doesn't make the portal unready."""
    if connection.vendor != "postgresql":
        return []
    (connections,) = sql.fetch(statements.CONNECTIONS_IN_USE)
    if connections.used < _NEARLY_ALL * connections.limit:
        return []
    return [f"{connections.used} of the database's {connections.limit} connections are in use."]


def _is_full_of_connections(error: BaseException) -> bool:
    """Return whether PostgreSQL refused the connection. Before there is a connection, an error has words but no code."""
    return any(words in str(error) for words in ("too many clients", "too many connections", "remaining connection slots"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
