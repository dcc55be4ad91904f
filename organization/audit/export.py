"""Export the audit trail as rows of a file, a few hundred entries at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from django.db.models import QuerySet
from django.utils import timezone

from organization.audit.changes import changes_of
from organization.models import AuditEvent

_AT_ONCE = 500
_HEADER = (
    "Number", "Time", "Operation", "Entity", "Name", "Member", "App", "Stage", "Status", "What changed", "Request",
)  # fmt: skip


def rows_of(events: QuerySet[AuditEvent], zone: tzinfo, *, sees_addresses: bool) -> Iterator[Sequence[str]]:
    """The header and one row for each of `events`, which are newest first.

    Times are in `zone`.
    """
    yield _HEADER
    piece = list(events[:_AT_ONCE])
    while piece:
        for event in piece:
            yield _cells(event, zone, sees_addresses)
        piece = list(events.filter(pk__lt=piece[-1].pk)[:_AT_ONCE])


def _cells(event: AuditEvent, zone: tzinfo, sees_addresses: bool) -> list[str]:
    return [
        str(event.pk),
        timezone.localtime(event.at, zone).isoformat(sep=" ", timespec="seconds"),
        event.operation,
        event.entity,
        event.entity_name,
        event.actor_name,
        event.app.name if event.app else "",
        event.stage.name if event.stage else "",
        event.get_status_display(),
        "; ".join(str(change) for change in changes_of(event, sees_addresses=sees_addresses, zone=zone)),
        event.request_id,
    ]
