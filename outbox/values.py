"""What an entry point hands in, and what it gets back. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from common import sql
from organization.models import App, Credential, Stage
from outbox.envelope import (
    Envelope,
)
from outbox.models import Door, HoldReason, Message, Status


@dataclass(frozen=True)
class Resent:
    """Why a mail is sent again: which one it repeats, on whose word, and whether that person released it to the real
    recipients."""

    original: Message
    by: str
    released: bool


@dataclass(frozen=True)
class Submission:
    """One mail as a door hands it in. `content` is a whole RFC 5322 message; `resent` tells about one that a person sends
    again (interventions)."""

    app: App
    stage: Stage
    envelope: Envelope
    content: bytes
    via: Door
    credential: Credential | None = None
    resent: Resent | None = None
    client: str = ""  # the address that it came from, where there is one


class Accepted(NamedTuple):
    """A stored mail: its number and its row's other columns."""

    pk: int
    row: dict[str, Any]

    @property
    def hold_reason(self) -> HoldReason | None:
        reason = self.row["hold_reason"]
        return HoldReason(reason) if reason else None

    @property
    def is_captured(self) -> bool:
        return bool(self.row["status"] == Status.CAPTURED)

    def message(self) -> Message:
        return sql.partly_read(Message, id=self.pk, **self.row)
