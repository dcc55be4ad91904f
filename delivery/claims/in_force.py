"""What is in force in a stage when a worker claims its messages: its settings, its policy, its pauses and its back-off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from common import sql
from common.clock import parse_db_time
from delivery import statements
from delivery.retry_schedule import too_late_before
from delivery.statements import StageNow
from organization.installation.seal import current_seal
from organization.recipient_policy.policy import PolicyState


@dataclass(frozen=True)
class Brakes:
    """What keeps a stage's due messages from being sent.

    `paused`: the apps that a person paused; None stands for the whole stage. What is due since before `too_late_before` and was
    never tried has waited too long.
    """

    paused: frozenset[int | None]
    too_late_before: datetime | None


class StageInForce(NamedTuple):
    """What is in force in one stage at the time `now`. Without settings, or in a copy, there is no version of them."""

    now: datetime
    settings_version: int | None
    backoff_is_over: bool
    policy: PolicyState
    brakes: Brakes


def query_in_force(stage_id: int) -> Callable[[], StageInForce]:
    """Read when it is called (see sql.query_lazy)."""
    rows = sql.query_lazy(statements.STAGE_NOW, stage_id, current_seal())
    return lambda: _in_force(*rows())


def _in_force(row: StageNow) -> StageInForce:
    now, since, ended = parse_db_time(row.now), _time(row.failing_since), _time(row.too_late_before)
    times = [time for time in (too_late_before(since, now), ended) if time]
    paused = frozenset(int(app_id) or None for app_id in (row.paused or "").split())
    brakes = Brakes(paused, max(times, default=None))
    return StageInForce(now, row.settings_version, bool(row.backoff_is_over), row.policy, brakes)


def _time(value: datetime | str | None) -> datetime | None:
    return parse_db_time(value) if value else None
