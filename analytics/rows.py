"""The rows that are counted, with the columns that are read of them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class MessageRow(NamedTuple):
    """An accepted message."""

    pk: int
    created: datetime
    stage_id: int
    app_id: int
    route: str


class AttemptRow(NamedTuple):
    """A try to reach one address, and its message."""

    pk: int
    created: datetime
    stage_id: int
    app_id: int
    accepted: datetime
    outcome: str
    step: str
    code: int | None
    reply: str
    message_id: int
    address: str
    rule: str
    claimed: datetime | None
    seconds: float


class CaptureRow(NamedTuple):
    """A copy that was captured at hand-over."""

    pk: int
    created: datetime
    stage_id: int
    app_id: int
