"""No more mails a minute than the stage's settings allow, over all workers: providers punish who sends faster."""

from __future__ import annotations

from datetime import datetime

from common import sql
from delivery import backoff
from delivery.claims import DueMail, hand_over
from delivery.models import StageQueue
from delivery.values import Claim, HandOver

# What wasn't sent in quiet seconds may be made up for, but not more than this much of it at once.
_BURST_SECONDS = 5.0
_LOCKED_SECONDS = 0.05


def hand_over_in_pace(
    due: DueMail, claim: Claim, now: datetime, most_recipients: int, per_minute: int
) -> tuple[list[HandOver], float]:
    """As hand_over(), for a stage with a limit (0: none). Also: how many seconds to wait until the limit lets one more
    mail go; 0 when it isn't the limit that stops anything."""
    if not per_minute:
        return hand_over(due, claim, now, most_recipients), 0.0
    queue = backoff.try_locked(due.stage_id)
    if queue is None:  # another worker takes some at this moment, or was stopped while it did
        return [], _LOCKED_SECONDS
    allowance = _allowance(queue, per_minute, now)
    permitted = min(due.wanted, int(allowance))
    taken = hand_over(due, claim, now, most_recipients, permitted) if permitted else []
    queue.allowance, queue.allowance_at = allowance - len(taken), now
    sql.update(queue, "allowance", "allowance_at")
    limited = permitted < due.wanted and len(taken) == permitted
    return taken, max(0.0, 1 - queue.allowance) * 60 / per_minute if limited else 0.0


def _allowance(queue: StageQueue, per_minute: int, now: datetime) -> float:
    """How many mails may go now: what was left, and what the time since has added."""
    most = max(1.0, per_minute * _BURST_SECONDS / 60)
    if queue.allowance_at is None or now < queue.allowance_at:  # never sent, or the clock was set back
        return most
    return min(most, queue.allowance + (now - queue.allowance_at).total_seconds() * per_minute / 60)
