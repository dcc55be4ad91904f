"""What waits in some stages at this moment. It is read by index, and counted no further than a page needs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from common import sql
from common.clock import parse_db_time
from organization.models import Stage
from outbox import statements
from outbox.access.visibility import LogAccess
from outbox.models import WAITING, HoldReason, Status

# The limit for each stage and status. A page needs no more to say that it is too much.
COUNTED_AT_MOST = 1_000
_ON_ITS_WAY_OR_HELD = (*WAITING, Status.SENDING, Status.HELD)


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


def backlog(places: Mapping[Stage, LogAccess]) -> dict[Stage, Backlog]:
    """The backlog of each stage, as far as the member may see it."""
    if not places:
        return {}
    query = statements.backlog_sums(len(places), _ON_ITS_WAY_OR_HELD, COUNTED_AT_MOST + 1)
    whole = [stage.pk for stage, access in places.items() if access.every_app]
    counted: Counter[tuple[int, str]] = Counter()
    own: defaultdict[tuple[int, str], Depth] = defaultdict(Depth)
    by_stage = {stage.pk: access for stage, access in places.items()}
    for row in sql.fetch(query, whole, *(stage.pk for stage in places for _ in _ON_ITS_WAY_OR_HELD)):
        counted[row.stage_id, row.status] += row.messages
        if row.app_id == 0 or by_stage[row.stage_id].sees(row.app_id):
            own[row.stage_id, row.status] += Depth(row.messages, oldest=parse_db_time(row.oldest))

    def depth(stage: Stage, status: Status) -> Depth:
        place = stage.pk, status.value
        return Depth(min(own[place].messages, COUNTED_AT_MOST), counted[place] > COUNTED_AT_MOST, own[place].oldest)

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
    rows = sql.fetch(statements.backlog_by_app(len(stages), status, limit + 1), *(stage.pk for stage in stages))
    counted: Counter[int] = Counter()
    for row in rows:
        counted[row.stage_id] += row.messages
    by_stage: defaultdict[int, defaultdict[int, Depth]] = defaultdict(lambda: defaultdict(Depth))
    for row in rows:
        if not reasons or row.hold_reason in reasons:
            more = counted[row.stage_id] > limit
            by_stage[row.stage_id][row.app_id] += Depth(min(row.messages, limit), more, parse_db_time(row.oldest))
    return {stage: dict(depths) for stage, depths in by_stage.items()}
