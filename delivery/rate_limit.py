"""Send no more messages per minute than a stage's settings allow, over all workers. Providers punish faster senders.

A worker reserves its messages before the transaction that claims them, in one statement of its own. So a worker that is
stopped inside that transaction doesn't keep the limit's row locked, which the other workers need too.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common import sql
from common.clock import database_now
from delivery import statements
from delivery.models import StageBackoff

# After quiet seconds a stage may catch up, but with no more than this many seconds' worth of messages at once.
_BURST_SECONDS = 5.0
_AGAIN_SECONDS = 0.05


class Reserved(NamedTuple):
    """How many messages a stage may claim, and the seconds until its limit lets one more go."""

    messages: int
    pause: float


def reserve(stage_id: int, messages: int, per_minute: int) -> Reserved:
    """Reserve up to `messages` of the messages that the limit lets go now. Call it outside any transaction."""
    stage_backoff, _ = StageBackoff.objects.get_or_create(stage_id=stage_id)
    now = database_now()
    tokens = _tokens_now(stage_backoff, per_minute, now)
    reserved = min(messages, int(tokens))
    left = tokens - reserved
    if reserved:
        before = stage_backoff.allowance, stage_backoff.allowance_at and sql.to_db_time(stage_backoff.allowance_at)
        if not sql.fetch(statements.RESERVE, left, sql.to_db_time(now), stage_id, *before):
            return Reserved(0, _AGAIN_SECONDS)
    return Reserved(reserved, max(0.0, 1 - left) * 60 / per_minute)


def give_back(stage_id: int, messages: int) -> None:
    """Give back what was reserved and not used. Call it outside any transaction.

    It is lost when the row is locked: better too slow than too fast.
    """
    sql.run(statements.GIVE_BACK, messages, stage_id)


def within_limit(messages: int, per_minute: int, reserved: Reserved | None) -> int:
    """How many of so many messages may be claimed at this limit (0: none)."""
    if not per_minute:
        return messages
    return min(messages, reserved.messages) if reserved else 0


def pause_after(claimed: int, wanted: int, per_minute: int, reserved: Reserved | None) -> float:
    """The seconds until the limit lets one more message go; 0 when the limit stops none."""
    if not per_minute:
        return 0.0
    if reserved is None:
        return _AGAIN_SECONDS
    return reserved.pause if claimed == reserved.messages < wanted else 0.0


def _tokens_now(stage_backoff: StageBackoff, per_minute: int, now: datetime) -> float:
    """How many messages may go now: what was left, and what the time since then has added."""
    most = max(1.0, per_minute * _BURST_SECONDS / 60)
    if stage_backoff.allowance_at is None or now < stage_backoff.allowance_at:  # never sent, or the clock was set back
        return most
    return min(most, stage_backoff.allowance + (now - stage_backoff.allowance_at).total_seconds() * per_minute / 60)
