"""What an entry point hands in, and what it gets back. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from common import sql
from common.addresses import NamedAddress
from organization.models import App, Credential, Stage
from outbox.envelope import (
    Envelope,
)
from outbox.models import HoldReason, Message, Source, Status


@dataclass(frozen=True)
class Resend:
    """Why a mail is sent again: which one it repeats, on whose word, and whether that person released it to the real
    recipients, or forwarded it as test mail to these people alone."""

    original: Message
    by: str
    released: bool = False
    forwarded_to: tuple[NamedAddress, ...] = ()


@dataclass(frozen=True)
class Submission:
    """One mail as an entry point hands it in. `content` is a whole RFC 5322 message; `resent` tells about one that a person sends
    again (interventions)."""

    app: App
    stage: Stage
    envelope: Envelope
    content: bytes
    via: Source
    credential: Credential | None = None
    resent: Resend | None = None
    client: str = ""  # the address that it came from, where there is one


class AcceptedMessage(NamedTuple):
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
