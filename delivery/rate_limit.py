"""No more mails a minute than the stage's settings allow, over all workers: providers punish who sends faster.

What the limit lets go is reserved before the transaction that takes the mails, in one statement of its own. So a worker that
is stopped inside that transaction doesn't keep the limit's row locked, which the others need too.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common import sql
from common.clock import database_now
from delivery import statements
from delivery.claims import DueMail, hand_over
from delivery.models import StageQueue
from delivery.values import Claim, HandOver

# What wasn't sent in quiet seconds may be made up for, but not more than this much of it at once.
_BURST_SECONDS = 5.0
_AGAIN_SECONDS = 0.05


class Reserved(NamedTuple):
    """How many mails a stage may take at a limit of so many `per_minute`, and the seconds until the limit lets one more go."""

    per_minute: int
    mails: int
    pause: float


def reserve(stage_id: int, wanted: int, per_minute: int) -> Reserved:
    """Up to `wanted` of what the limit lets go now. In no transaction."""
    queue, _ = StageQueue.objects.get_or_create(stage_id=stage_id)
    now = database_now()
    allowance = _allowance(queue, per_minute, now)
    mails = min(wanted, int(allowance))
    left = allowance - mails
    if mails:
        before = queue.allowance, queue.allowance_at and sql.stored(queue.allowance_at)
        if not sql.fetch(statements.RESERVE, left, sql.stored(now), stage_id, *before):
            return Reserved(per_minute, 0, _AGAIN_SECONDS)
    return Reserved(per_minute, mails, max(0.0, 1 - left) * 60 / per_minute)


def give_back(stage_id: int, mails: int) -> None:
    """What was reserved and not used. Lost where the row is locked: better too slow than too fast. In no transaction."""
    sql.run(statements.GIVE_BACK, mails, stage_id)


def hand_over_in_pace(
    due: DueMail, claim: Claim, now: datetime, most_recipients: int, per_minute: int, reserved: Reserved | None
) -> tuple[list[HandOver], float]:
    """As hand_over(), for a stage with a limit (0: none). Also: how many seconds to wait until the limit lets one more
    mail go; 0 when it isn't the limit that stops anything."""
    if not per_minute:
        return hand_over(due, claim, now, most_recipients), 0.0
    if reserved is None or reserved.per_minute != per_minute:  # the settings were not known yet
        return [], _AGAIN_SECONDS
    taken = hand_over(due, claim, now, most_recipients, reserved.mails) if reserved.mails else []
    limited = reserved.mails < due.wanted and len(taken) == reserved.mails
    return taken, reserved.pause if limited else 0.0


def _allowance(queue: StageQueue, per_minute: int, now: datetime) -> float:
    """How many mails may go now: what was left, and what the time since has added."""
    most = max(1.0, per_minute * _BURST_SECONDS / 60)
    if queue.allowance_at is None or now < queue.allowance_at:  # never sent, or the clock was set back
        return most
    return min(most, queue.allowance + (now - queue.allowance_at).total_seconds() * per_minute / 60)
