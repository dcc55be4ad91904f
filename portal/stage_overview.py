"""The stages on Home: a row for each stage whose log the member may read, with its last 24 hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from analytics.report import RANGES, Ended, Places, periods_by_stage
from common.clock import database_now
from delivery.models import StageBackoff
from emailconfig.models import SmtpSettings
from organization.models import Stage
from outbox.counts.backlog import Backlog, backlog
from outbox.models import Pause
from testlists.models import TestList

_CHART_HEIGHT = 28
_BAR_WIDTH, _BAR_STEP = 3, 4
_LAST_DAY = RANGES[0]


class StageFacts(NamedTuple):
    """What several parts of Home need to know about the stages, read once."""

    now: datetime
    settings: dict[int, SmtpSettings]
    backoffs: list[StageBackoff]
    pauses: list[Pause]


@dataclass(frozen=True)
class StageRow:
    """A stage and its last day.

    `sent_bars` and `failed_bars` are the small chart's bars as SVG paths. An element for each took a third of the page's time.
    """

    stage: Stage
    server: str
    state: str
    sent: int
    failed: int
    backlog: Backlog
    sent_bars: str
    failed_bars: str
    active_lists: int


def read_facts(stages: Collection[Stage]) -> StageFacts:
    return StageFacts(
        database_now(),
        {row.stage_id: row for row in SmtpSettings.objects.filter(stage__in=stages).select_related("stage")},
        list(StageBackoff.objects.filter(stage__in=stages, failures__gt=0).select_related("stage")),
        list(Pause.objects.filter(stage__in=stages).select_related("stage", "app")),
    )


def stage_rows(places: Places, facts: StageFacts) -> list[StageRow]:
    """Return a row for each stage. The number of queries doesn't grow with the stages."""
    states, waiting, lists = _states(facts), backlog(places), _active_lists(places, facts.now)
    figures = periods_by_stage(places, _LAST_DAY)
    return [_row(stage, list(figures[stage.pk].values()), facts, states, waiting[stage], lists[stage.pk]) for stage in places]


def _row(
    stage: Stage, hours: Sequence[Ended], facts: StageFacts, states: Mapping[int, str], backlog: Backlog, lists: int
) -> StageRow:
    settings = facts.settings.get(stage.pk)
    return StageRow(
        stage,
        f"{settings.server}:{settings.port}" if settings else "",
        states.get(stage.pk, "Configured") if settings else "Not configured",
        sum(hour.sent for hour in hours),
        sum(hour.failed for hour in hours),
        backlog,
        *_bars(hours),
        lists,
    )


def _states(facts: StageFacts) -> dict[int, str]:
    """Return the state of each stage that doesn't deliver as usual."""
    states = {row.stage_id: "Paused" if row.paused else "Waiting for the server" for row in facts.backoffs}
    return states | {pause.stage_id: "Paused" for pause in facts.pauses if pause.app is None}


def _active_lists(places: Places, now: datetime) -> Counter[int]:
    visible = {stage.pk: access for stage, access in places.items()}
    lists = TestList.objects.filter(stage__in=places, active=True)
    return Counter(row.stage_id for row in lists if visible[row.stage_id].sees(row.app_id) and row.is_active(now))


def _bars(hours: Sequence[Ended]) -> tuple[str, str]:
    """Return what was sent, and above it what failed. An hour with one failed email stays visible beside a million."""
    highest = max((hour.sent + hour.failed for hour in hours), default=0) or 1
    failed = [-(-hour.failed * _CHART_HEIGHT // highest) for hour in hours]
    sent = [
        min(-(-hour.sent * _CHART_HEIGHT // highest), _CHART_HEIGHT - above) for hour, above in zip(hours, failed, strict=True)
    ]
    return _path(sent, [0] * len(hours)), _path(failed, sent)


def _path(heights: Sequence[int], below: Sequence[int]) -> str:
    """Draw a bar of each height on top of what is `below` it."""
    return "".join(
        f"M{place * _BAR_STEP} {_CHART_HEIGHT - bottom}v-{height}h{_BAR_WIDTH}v{height}z"
        for place, (height, bottom) in enumerate(zip(heights, below, strict=True))
        if height
    )
