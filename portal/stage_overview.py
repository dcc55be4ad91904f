"""The stages on Home: a row for each stage whose log the member may read, with its last 24 hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone

from analytics.report import RANGES, Ended, Period, Places, periods_by_stage
from common import sql
from delivery.models import StageBackoff
from emailconfig.models import LastTest, SmtpSettings
from organization.models import Stage
from outbox.counts.backlog import Backlog, Depth, HeldCounts, backlog, count_held
from outbox.models import Pause
from portal import statements
from testlists.models import TestList

_BAR_HEIGHT = 18
_BAR_WIDTH, _BAR_STEP = 3, 4
_LAST_DAY = RANGES[0]


class StageFacts(NamedTuple):
    """What several parts of Home need to know about the stages, read once. `lists` are those set to Active."""

    signs: statements.Signs
    settings: dict[int, SmtpSettings]
    backoffs: list[StageBackoff]
    pauses: list[Pause]
    lists: list[TestList]
    held: HeldCounts

    @property
    def now(self) -> datetime:
        return self.signs.now

    def is_alive(self, seen: datetime | None, stale_after: timedelta) -> bool:
        """Whether a process that reported last at this time has done so lately."""
        return seen is not None and seen > self.now - stale_after


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
    (signs,) = sql.fetch(statements.SIGNS)
    backoffs = StageBackoff.objects.filter(stage__in=stages, failures__gt=0).select_related("stage")
    pauses = Pause.objects.filter(stage__in=stages).select_related("stage", "app")
    lists = list(TestList.objects.filter(stage__in=stages, active=True))
    settings = list(SmtpSettings.objects.filter(stage__in=stages).only("stage", "server", "port", "secret_ends"))
    by_pk = {stage.pk: stage for stage in stages}
    for test_list in lists:
        test_list.stage = by_pk[test_list.stage_id]
    for row in settings:
        row.stage = by_pk[row.stage_id]
    return StageFacts(
        signs,
        {row.stage_id: row for row in settings},
        list(backoffs) if signs.is_failing else [],
        list(pauses) if signs.is_paused else [],
        lists,
        count_held(stages),
    )


def stage_rows(places: Places, facts: StageFacts, failed: Mapping[int, Depth]) -> list[StageRow]:
    """Return a row for each stage. The number of queries doesn't grow with the stages."""
    states, tests = _states(facts), _last_tests(facts.settings)
    waiting, figures, lists = backlog(places, facts.held), periods_by_stage(places, _LAST_DAY), _active_lists(places, facts)
    hours = (hour for hour in _LAST_DAY.periods() if isinstance(hour, datetime))
    clock: dict[Period, str] = {hour: f"{timezone.localtime(hour):%H:%M}" for hour in hours}
    return [
        StageRow(
            stage,
            str(facts.settings[stage.pk]) if stage.pk in facts.settings else "",
            states.get(stage.pk, "Configured") if stage.pk in facts.settings else "Not configured",
            tests.get(stage.pk),
            sum(hour.sent for hour in figures[stage.pk].values()),
            failed[stage.pk],
            waiting[stage],
            _chart(figures[stage.pk], clock),
            lists[stage.pk],
        )
        for stage in places
    ]


def _states(facts: StageFacts) -> dict[int, str]:
    """Return the state of each stage that doesn't deliver as usual."""
    states = {row.stage_id: "Paused" if row.paused else "Waiting for the server" for row in facts.backoffs}
    return states | {pause.stage_id: "Paused" for pause in facts.pauses if pause.app is None}


def _active_lists(places: Places, facts: StageFacts) -> Counter[int]:
    visible = {stage.pk: access for stage, access in places.items()}
    lists = (row for row in facts.lists if row.stage_id in visible and row.is_active(facts.now))
    return Counter(row.stage_id for row in lists if visible[row.stage_id].sees(row.app_id))


def _last_tests(settings: Mapping[int, SmtpSettings]) -> dict[int, LastTest]:
    """Return the last test of each stage, if it was one of the server that the stage has now."""
    tests = LastTest.objects.filter(stage__in=settings)
    return {test.stage_id: test for test in tests if test.server == str(settings[test.stage_id])}


def _chart(hours: Mapping[Period, Ended], clock: Mapping[Period, str]) -> SmallChart:
    busiest = max((max(hour) for hour in hours.values()), default=0)
    sent, failed = (_bars([hour[place] for hour in hours.values()], busiest or 1, upward=place == 0) for place in (0, 1))
    return SmallChart(sent, failed, "; ".join(_hours_in_words(hours, clock)) or "none", busiest)


def _bars(numbers: Sequence[int], busiest: int, *, upward: bool) -> str:
    """Draw a bar for each hour. One failed address stays visible beside a million."""
    start, sign = (_BAR_HEIGHT, "-") if upward else (_BAR_HEIGHT + 1, "")
    heights = [-(-number * _BAR_HEIGHT // busiest) for number in numbers]
    return "".join(
        f"M{place * _BAR_STEP} {start}v{sign}{height}h{_BAR_WIDTH}V{start}z" for place, height in enumerate(heights) if height
    )


def _hours_in_words(hours: Mapping[Period, Ended], clock: Mapping[Period, str]) -> Iterator[str]:
    for hour, ended in hours.items():
        numbers = [f"{number:,} {name}" for name, number in zip(Ended._fields, ended, strict=True) if number]
        if numbers:
            yield f"{clock[hour]} {', '.join(numbers)}"
