"""What waits in some stages at this moment: by index, and counted no further than a page needs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from common import sql
from common.clock import as_moment
from organization.models import App, Stage
from outbox import statements
from outbox.models import WAITING, HoldReason, Status

# Of each stage and status: a page needs no more to say that it is too much.
COUNTED_AT_MOST = 1_000


@dataclass(frozen=True)
class Depth:
    """How many mails, and since when the first of them; `more`: there are more than were counted."""

    mails: int = 0
    more: bool = False
    oldest: datetime | None = None

    def __add__(self, other: Depth) -> Depth:
        oldest = min((one for one in (self.oldest, other.oldest) if one), default=None)
        return Depth(self.mails + other.mails, self.more or other.more, oldest)

    def __str__(self) -> str:
        return f"{self.mails:,}{'+' if self.more else ''}"


@dataclass(frozen=True)
class Backlog:
    """Mail that is on its way, and mail that is held."""

    waiting: Depth = Depth()
    held: Depth = Depth()

    def __add__(self, other: Backlog) -> Backlog:
        return Backlog(self.waiting + other.waiting, self.held + other.held)


def backlog(places: Mapping[Stage, Sequence[App]]) -> dict[Stage, Backlog]:
    """Of each stage, the mail of these apps."""
    depths = {status: depth_by_app(places, status) for status in (*WAITING, Status.SENDING, Status.HELD)}

    def depth(stage: Stage, status: Status) -> Depth:
        found = depths[status].get(stage.pk, {})
        own = sum((found[app.pk] for app in places[stage] if app.pk in found), Depth())
        return Depth(min(own.mails, COUNTED_AT_MOST), any(one.more for one in found.values()), own.oldest)

    return {
        stage: Backlog(sum((depth(stage, one) for one in (*WAITING, Status.SENDING)), Depth()), depth(stage, Status.HELD))
        for stage in places
    }


def depth_by_app(
    stages: Collection[Stage], status: Status, reasons: Collection[HoldReason] = (), *, at_most: int | None = None
) -> dict[int, dict[int, Depth]]:
    """By stage, of each app that has any mail of that status there; with `reasons`, held for one of these. `at_most` is another
    limit than COUNTED_AT_MOST.

    All of a stage's mail counts toward the limit: there may be millions of one app's before the first of another's.
    """
    if not stages:
        return {}
    limit = at_most or COUNTED_AT_MOST
    asked = [value for stage in stages for value in (stage.pk, status.value, limit + 1)]
    rows = sql.fetch(statements.backlog_by_app(len(stages)), *asked)
    counted: Counter[int] = Counter()
    for row in rows:
        counted[row.stage_id] += row.messages
    found: defaultdict[int, defaultdict[int, Depth]] = defaultdict(lambda: defaultdict(Depth))
    for row in rows:
        if not reasons or row.hold_reason in reasons:
            more = counted[row.stage_id] > limit
            found[row.stage_id][row.app_id] += Depth(min(row.messages, limit), more, as_moment(row.oldest))
    return {stage: dict(depths) for stage, depths in found.items()}
