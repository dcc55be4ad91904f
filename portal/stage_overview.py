"""The stages on Home: a row for each stage whose log the member may read, with its last 24 hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.utils import timezone

from analytics.report import RANGES, Ended, Period, Places, periods_by_stage
from common.clock import database_now
from delivery.models import StageBackoff
from emailconfig.models import LastTest, SmtpSettings
from organization.models import Stage
from outbox.counts.backlog import Backlog, Depth, HeldCounts, backlog, count_held
from outbox.models import Pause
from testlists.models import TestList

_BAR_HEIGHT = 18
_BAR_WIDTH, _BAR_STEP = 3, 4
_LAST_DAY = RANGES[0]


class StageFacts(NamedTuple):
    """What several parts of Home need to know about the stages, read once."""

    now: datetime
    settings: dict[int, SmtpSettings]
    backoffs: list[StageBackoff]
    pauses: list[Pause]
    held: HeldCounts


class SmallChart(NamedTuple):
    """The addresses of each hour: what was sent above the line, what failed below it, each as an SVG path.

    An element for each bar took a third of the page's time. `words` say the same for those who don't see the chart, and
    `busiest` is the largest number of an hour.
    """

    sent: str
    failed: str
    words: str
    busiest: int


@dataclass(frozen=True)
class StageRow:
    """`sent` are addresses, as in Analytics. `failed` are emails, as in the notices of Home and in the email log."""

    stage: Stage
    server: str
    state: str
    last_test: LastTest | None
    sent: int
    failed: Depth
    backlog: Backlog
    chart: SmallChart
    active_lists: int


def read_facts(stages: Collection[Stage]) -> StageFacts:
    return StageFacts(
        database_now(),
        {row.stage_id: row for row in SmtpSettings.objects.filter(stage__in=stages).select_related("stage")},
        list(StageBackoff.objects.filter(stage__in=stages, failures__gt=0).select_related("stage")),
        list(Pause.objects.filter(stage__in=stages).select_related("stage", "app")),
        count_held(stages),
    )


def stage_rows(places: Places, facts: StageFacts, failed: Mapping[int, Depth]) -> list[StageRow]:
    """Return a row for each stage. The number of queries doesn't grow with the stages."""
    states, tests = _states(facts), _last_tests(facts.settings)
    waiting, figures, lists = backlog(places, facts.held), periods_by_stage(places, _LAST_DAY), _active_lists(places, facts.now)
    return [
        StageRow(
            stage,
            str(facts.settings[stage.pk]) if stage.pk in facts.settings else "",
            states.get(stage.pk, "Configured") if stage.pk in facts.settings else "Not configured",
            tests.get(stage.pk),
            sum(hour.sent for hour in figures[stage.pk].values()),
            failed[stage.pk],
            waiting[stage],
            _chart(figures[stage.pk]),
            lists[stage.pk],
        )
        for stage in places
    ]


def _states(facts: StageFacts) -> dict[int, str]:
    """Return the state of each stage that doesn't deliver as usual."""
    states = {row.stage_id: "Paused" if row.paused else "Waiting for the server" for row in facts.backoffs}
    return states | {pause.stage_id: "Paused" for pause in facts.pauses if pause.app is None}


def _active_lists(places: Places, now: datetime) -> Counter[int]:
    visible = {stage.pk: access for stage, access in places.items()}
    lists = TestList.objects.filter(stage__in=places, active=True)
    return Counter(row.stage_id for row in lists if visible[row.stage_id].sees(row.app_id) and row.is_active(now))


def _last_tests(settings: Mapping[int, SmtpSettings]) -> dict[int, LastTest]:
    """Return the last test of each stage, if it was one of the server that the stage has now."""
    tests = LastTest.objects.filter(stage__in=settings)
    return {test.stage_id: test for test in tests if test.server == str(settings[test.stage_id])}


def _chart(hours: Mapping[Period, Ended]) -> SmallChart:
    busiest = max((max(hour) for hour in hours.values()), default=0)
    sent, failed = (_bars([hour[place] for hour in hours.values()], busiest or 1, upward=place == 0) for place in (0, 1))
    return SmallChart(sent, failed, "; ".join(_hours_in_words(hours)) or "none", busiest)


def _bars(numbers: Sequence[int], busiest: int, *, upward: bool) -> str:
    """Draw a bar for each hour. One failed address stays visible beside a million."""
    start, sign = (_BAR_HEIGHT, "-") if upward else (_BAR_HEIGHT + 1, "")
    heights = [-(-number * _BAR_HEIGHT // busiest) for number in numbers]
    return "".join(
        f"M{place * _BAR_STEP} {start}v{sign}{height}h{_BAR_WIDTH}V{start}z" for place, height in enumerate(heights) if height
    )


def _hours_in_words(hours: Mapping[Period, Ended]) -> Iterator[str]:
    for hour, ended in hours.items():
        numbers = [f"{number:,} {name}" for name, number in zip(Ended._fields, ended, strict=True) if number]
        if numbers and isinstance(hour, datetime):
            yield f"{timezone.localtime(hour):%H:%M} {', '.join(numbers)}"
