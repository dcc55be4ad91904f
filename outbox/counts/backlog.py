"""What waits in some stages at this moment. It is read by index, and counted no further than a page needs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from common import sql
from common.clock import parse_db_time
from organization.models import App, Stage
from outbox import statements
from outbox.models import WAITING, HoldReason, Status

# The limit for each stage and status. A page needs no more to say that it is too much.
COUNTED_AT_MOST = 1_000


@dataclass(frozen=True)
class Depth:
    """How many messages there are, and since when the first of them. `more`: there are more than were counted."""

    messages: int = 0
    more: bool = False
    oldest: datetime | None = None

    def __add__(self, other: Depth) -> Depth:
        oldest = min((time for time in (self.oldest, other.oldest) if time), default=None)
        return Depth(self.messages + other.messages, self.more or other.more, oldest)

    def __str__(self) -> str:
        return f"{self.messages:,}{'+' if self.more else ''}"


@dataclass(frozen=True)
class Backlog:
    """The messages that are on their way, and the messages that are held."""

    waiting: Depth = Depth()
    held: Depth = Depth()

    def __add__(self, other: Backlog) -> Backlog:
        return Backlog(self.waiting + other.waiting, self.held + other.held)


def backlog(places: Mapping[Stage, Sequence[App]]) -> dict[Stage, Backlog]:
    """The backlog of each stage, for these apps."""
    depths = {status: depth_by_app(places, status) for status in (*WAITING, Status.SENDING, Status.HELD)}

    def depth(stage: Stage, status: Status) -> Depth:
        by_app = depths[status].get(stage.pk, {})
        own = sum((by_app[app.pk] for app in places[stage] if app.pk in by_app), Depth())
        return Depth(min(own.messages, COUNTED_AT_MOST), any(depth_of_app.more for depth_of_app in by_app.values()), own.oldest)

    return {
        stage: Backlog(sum((depth(stage, status) for status in (*WAITING, Status.SENDING)), Depth()), depth(stage, Status.HELD))
        for stage in places
    }


def depth_by_app(
    stages: Collection[Stage], status: Status, reasons: Collection[HoldReason] = (), *, at_most: int | None = None
) -> dict[int, dict[int, Depth]]:
    """The depth by stage and app, for each app that has messages of that status there.

    With `reasons` only messages that are held for one of these count. `at_most` is a limit other than COUNTED_AT_MOST. All
    messages of a stage count toward the limit: there may be millions of one app's before the first of another's.
    """
    if not stages:
        return {}
    limit = at_most or COUNTED_AT_MOST
    parameters = [value for stage in stages for value in (stage.pk, status.value, limit + 1)]
    rows = sql.fetch(statements.backlog_by_app(len(stages)), *parameters)
    counted: Counter[int] = Counter()
    for row in rows:
        counted[row.stage_id] += row.messages
    by_stage: defaultdict[int, defaultdict[int, Depth]] = defaultdict(lambda: defaultdict(Depth))
    for row in rows:
        if not reasons or row.hold_reason in reasons:
            more = counted[row.stage_id] > limit
            by_stage[row.stage_id][row.app_id] += Depth(min(row.messages, limit), more, parse_db_time(row.oldest))
    return {stage: dict(depths) for stage, depths in by_stage.items()}
