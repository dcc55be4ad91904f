"""What is in force in a stage when a worker claims its messages: its settings, its policy, its pauses and its back-off."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from common import sql
from common.clock import parse_db_time
from delivery import statements
from delivery.retry_schedule import too_late_before
from delivery.statements import StageNow
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


class StagesInForce(NamedTuple):
    """The database's time, and what is in force in some stages then. A stage that was deleted isn't among them."""

    now: datetime
    stages: Mapping[int, StageInForce]


def query_in_force(stage_ids: Collection[int], seal: str) -> Callable[[], StagesInForce]:
    """Read when it is called (see sql.query_lazy). `seal` is what the database's seal must be, or it is a copy."""
    rows = sql.query_lazy(statements.STAGES_NOW, list(stage_ids), seal)
    return lambda: _in_force_now(rows())


def _in_force_now(rows: Sequence[StageNow]) -> StagesInForce:
    now = parse_db_time(rows[0].now)
    return StagesInForce(now, {row.stage_id: _in_force(row, row.policy, now) for row in rows if row.stage_id and row.policy})


def _in_force(row: StageNow, policy: PolicyState, now: datetime) -> StageInForce:
    since, ended = _time(row.failing_since), _time(row.too_late_before)
    times = [time for time in (too_late_before(since, now), ended) if time]
    paused = frozenset(int(app_id) or None for app_id in (row.paused or "").split())
    brakes = Brakes(paused, max(times, default=None))
    return StageInForce(now, row.settings_version, bool(row.backoff_is_over), policy, brakes)


def _time(value: datetime | str | None) -> datetime | None:
    return parse_db_time(value) if value else None
