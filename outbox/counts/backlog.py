"""What waits in some stages at this moment. It is read by index, and counted no further than a page needs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from common import sql
from common.clock import parse_db_time
from organization.models import Stage
from outbox import statements
from outbox.access.visibility import LogAccess
from outbox.models import WAITING, HoldReason, Status

# The limit for each stage and status. A page needs no more to say that it is too much.
COUNTED_AT_MOST = 1_000
_ON_ITS_WAY = (*WAITING, Status.SENDING)


@dataclass(frozen=True)
class Depth:
    """How many messages there are, and since when the first of them. `more`: there are more than were counted."""

    messages: int = 0
    more: bool = False
    oldest: datetime | None = None

    @classmethod
    def bounded(cls, messages: int, read: int, limit: int, oldest: datetime | None = None) -> Depth:
        """So many messages of a place where `read` were read, one more than `limit` if there are more."""
        return cls(min(messages, limit), read > limit, oldest)

    def __add__(self, other: Depth) -> Depth:
        oldest = min((time for time in (self.oldest, other.oldest) if time), default=None)
        return Depth(self.messages + other.messages, self.more or other.more, oldest)

    def __str__(self) -> str:
        return f"{self.messages:,}{'+' if self.more else ''}"

    @property
    def emails(self) -> str:
        return f"{self} {'email' if self.messages == 1 and not self.more else 'emails'}"


@dataclass(frozen=True)
class Backlog:
    """The messages that are on their way, and the messages that are held."""

    waiting: Depth = Depth()
    held: Depth = Depth()

    def __add__(self, other: Backlog) -> Backlog:
        return Backlog(self.waiting + other.waiting, self.held + other.held)


@dataclass(frozen=True)
class HeldCounts:
    """How many messages some stages hold, by app and reason. They are read once for all that a page says of them.

    Of a stage no more than `limit` are counted: there may be millions of one app's before the first of another's.
    """

    rows: Sequence[statements.HeldRow] = ()
    limit: int = COUNTED_AT_MOST

    def by_app(self, reasons: Collection[HoldReason] = ()) -> dict[int, dict[int, Depth]]:
        """The depth by stage and app, for each app that has held messages there, for one of these reasons if there are any."""
        depths: defaultdict[int, defaultdict[int, Depth]] = defaultdict(lambda: defaultdict(Depth))
        for row in self.rows:
            if not reasons or row.hold_reason in reasons:
                depths[row.stage_id][row.app_id] += self.depth(row)
        return {stage: dict(by_app) for stage, by_app in depths.items()}

    def of_stage(self, stage: Stage, access: LogAccess) -> Depth:
        """The depth of the stage, as far as the member may see it. Theirs may come after the first ones of others."""
        seen = [row for row in self._by_stage[stage.pk] if access.sees(row.app_id)]
        oldest = min((parse_db_time(row.oldest) for row in seen), default=None)
        return Depth.bounded(sum(row.messages for row in seen), self._counted[stage.pk], self.limit, oldest)

    def depth(self, row: statements.HeldRow) -> Depth:
        return Depth.bounded(row.messages, self._counted[row.stage_id], self.limit, parse_db_time(row.oldest))

    @cached_property
    def _by_stage(self) -> defaultdict[int, list[statements.HeldRow]]:
        rows: defaultdict[int, list[statements.HeldRow]] = defaultdict(list)
        for row in self.rows:
            rows[row.stage_id].append(row)
        return rows

    @cached_property
    def _counted(self) -> Counter[int]:
        counted: Counter[int] = Counter()
        for row in self.rows:
            counted[row.stage_id] += row.messages
        return counted


def count_held(stages: Collection[Stage], limit: int | None = None) -> HeldCounts:
    """Count up to `limit` messages of each stage, COUNTED_AT_MOST by default."""
    limit = limit or COUNTED_AT_MOST
    if not stages:
        return HeldCounts()
    stage_ids = [stage.pk for stage in stages]
    return HeldCounts(sql.fetch(statements.held_by_app(limit + 1), stage_ids, [Status.HELD.value]), limit)


def backlog(places: Mapping[Stage, LogAccess], held: HeldCounts | None = None) -> dict[Stage, Backlog]:
    """The backlog of each stage, as far as the member may see it. `held`: the held messages of these stages, if known."""
    waiting, held = _waiting(places), held or count_held(places)
    return {stage: Backlog(waiting[stage], held.of_stage(stage, access)) for stage, access in places.items()}


def _waiting(places: Mapping[Stage, LogAccess]) -> dict[Stage, Depth]:
    if not places:
        return {}
    query = statements.backlog_sums(COUNTED_AT_MOST + 1)
    whole = [stage.pk for stage, access in places.items() if access.every_app]
    counted: Counter[tuple[int, str]] = Counter()
    own: defaultdict[tuple[int, str], Depth] = defaultdict(Depth)
    by_stage = {stage.pk: access for stage, access in places.items()}
    for row in sql.fetch(query, whole, list(by_stage), [status.value for status in _ON_ITS_WAY]):
        counted[row.stage_id, row.status] += row.messages
        if row.app_id == 0 or by_stage[row.stage_id].sees(row.app_id):
            own[row.stage_id, row.status] += Depth(row.messages, oldest=parse_db_time(row.oldest))

    def depth(stage: Stage, status: Status) -> Depth:
        place = stage.pk, status.value
        return Depth.bounded(own[place].messages, counted[place], COUNTED_AT_MOST, own[place].oldest)

    return {stage: sum((depth(stage, status) for status in _ON_ITS_WAY), Depth()) for stage in places}


def waiting_by_app(stages: Collection[Stage], status: Status) -> dict[int, dict[int, Depth]]:
    """The depth by stage and app, for each app that has messages of that status there."""
    if not stages:
        return {}
    rows = sql.fetch(statements.backlog_by_app(COUNTED_AT_MOST + 1), [stage.pk for stage in stages], [status.value])
    counted: Counter[int] = Counter()
    for row in rows:
        counted[row.stage_id] += row.messages
    by_stage: defaultdict[int, dict[int, Depth]] = defaultdict(dict)
    for row in rows:
        depth = Depth.bounded(row.messages, counted[row.stage_id], COUNTED_AT_MOST, parse_db_time(row.oldest))
        by_stage[row.stage_id][row.app_id] = depth
    return dict(by_stage)
