"""What waits in some stages at this moment: by index, and counted no further than a page needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Min, Q

from organization.models import App, Stage
from outbox.models import WAITING, Message, Status

# Of each stage and status.
COUNTED_AT_MOST = 10_000


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
    return {stage: _of_stage(stage, apps) for stage, apps in places.items()}


def _of_stage(stage: Stage, apps: Sequence[App]) -> Backlog:
    on_its_way = [_depth(stage, status, apps) for status in (*WAITING, Status.SENDING)]
    return Backlog(sum(on_its_way, Depth()), _depth(stage, Status.HELD, apps))


def _depth(stage: Stage, status: Status, apps: Sequence[App]) -> Depth:
    """Other apps' mail counts toward the limit too: there may be millions of it before the first of these apps."""
    first = Message.objects.filter(stage=stage, status=status).order_by("due", "pk")[: COUNTED_AT_MOST + 1]
    own = Q(app__in=apps)
    found = first.aggregate(all=Count("pk"), own=Count("pk", filter=own), oldest=Min("created", filter=own))
    return Depth(min(found["own"], COUNTED_AT_MOST), found["all"] > COUNTED_AT_MOST, found["oldest"])
