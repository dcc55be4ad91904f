"""What an entry point submits, and what it gets back. Plain values."""

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
    """The reason for a resend.

    It names the message that is repeated, the person who decided it, and whether they released it to the real recipients,
    or forwarded it as test mail to some people alone. `reached`: the addresses that got it before and don't get it again (as
    same_address_key has them).
    """

    original: Message
    by: str
    released: bool = False
    forwarded_to: tuple[NamedAddress, ...] = ()
    reached: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Submission:
    """One message as an entry point submits it.

    `content` is a whole RFC 5322 message. `resent` is set when a person resends a message (see actions).
    """

    app: App
    stage: Stage
    envelope: Envelope
    content: bytes
    via: Source
    credential: Credential | None = None
    resent: Resend | None = None
    client: str = ""  # the address of the client, where there is one


class AcceptedMessage(NamedTuple):
    """A stored message: its number and its row's other columns."""

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
