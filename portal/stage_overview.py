"""The stages on Home: a row for each stage whose log the member may read, with its last 24 hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.utils import timezone

from analytics.report import RANGES, Period, Places, Sums, periods_by_stage, rows_of
from common.clock import database_now
from delivery.models import StageBackoff
from emailconfig.models import LastTest, SmtpSettings
from organization.models import App, Member, Stage
from outbox.access.visibility import log_access
from outbox.counts.backlog import Backlog, backlog
from outbox.models import Message, Pause, Status
from testlists.models import TestList

_BAR_HEIGHT = 18
_BAR_STEP = 4
_LAST_DAY = RANGES[0]
# A failed email is due no later than it is accepted, but for the clocks of two statements.
_SLACK = timedelta(minutes=1)


class Bar(NamedTuple):
    """One hour of the small chart: what was sent is drawn above the line, what failed below it."""

    x: int
    y: int
    sent: int
    failed: int


class SmallChart(NamedTuple):
    """The addresses of each hour. `words` say the same for those who don't see it, `busiest` is the largest number of an hour."""

    bars: list[Bar]
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
    failed: int
    backlog: Backlog
    chart: SmallChart
    active_lists: int


def visible_places(member: Member, stages: Collection[Stage]) -> dict[Stage, list[App]]:
    """Return the apps of each stage whose log the member may read."""
    places, apps = {}, list(App.objects.all())
    for stage in stages:
        with suppress(PermissionDenied):
            places[stage] = log_access(member, stage, apps).apps
    return places


def failed_emails(places: Places) -> dict[int, int]:
    """Return how many emails of each stage failed in the last 24 hours, as the email log shows them."""
    if not places:
        return {}
    since = database_now() - timedelta(hours=24)
    failed = Message.objects.filter(rows_of(places), status=Status.FAILED, created__gte=since)
    failed = failed.filter(due__gte=since - _SLACK)  # never before it is accepted, so that the index leaves older ones unread
    return dict(failed.order_by().values_list("stage_id").annotate(Count("pk")))


def stage_rows(places: Places, failed: Mapping[int, int]) -> list[StageRow]:
    """Return a row for each stage. The number of queries doesn't grow with the stages."""
    settings = {row.stage_id: row for row in SmtpSettings.objects.filter(stage__in=places)}
    states, tests = _states(places), _last_tests(settings)
    waiting, figures, lists = backlog(places), periods_by_stage(places, _LAST_DAY), _active_lists(places)
    return [
        StageRow(
            stage,
            f"{settings[stage.pk].server}:{settings[stage.pk].port}" if stage.pk in settings else "",
            states.get(stage.pk, "Configured") if stage.pk in settings else "Not configured",
            tests.get(stage.pk),
            sum(sums.counts["sent"] for sums in figures[stage.pk].values()),
            failed.get(stage.pk, 0),
            waiting[stage],
            _chart(figures[stage.pk]),
            lists[stage.pk],
        )
        for stage in places
    ]


def _states(places: Places) -> dict[int, str]:
    """Return the state of each stage that doesn't deliver as usual."""
    backoffs = StageBackoff.objects.filter(stage__in=places, failures__gt=0)
    states = {row.stage_id: "Paused" if row.paused else "Waiting for the server" for row in backoffs}
    return states | {pause.stage_id: "Paused" for pause in Pause.objects.filter(stage__in=places, app=None)}


def _active_lists(places: Places) -> Counter[int]:
    now, visible = database_now(), {stage.pk: {app.pk for app in apps} for stage, apps in places.items()}
    lists = TestList.objects.filter(stage__in=places, active=True)
    return Counter(row.stage_id for row in lists if row.app_id in visible[row.stage_id] and row.is_active(now))


def _last_tests(settings: Mapping[int, SmtpSettings]) -> dict[int, LastTest]:
    """Return the last test of each stage, if it was one of the server that the stage has now."""
    tests = LastTest.objects.filter(stage__in=settings)
    return {test.stage_id: test for test in tests if test.server == str(settings[test.stage_id])}


def _chart(periods: Mapping[Period, Sums]) -> SmallChart:
    busiest = max((max(sums.counts["sent"], sums.counts["failed"]) for sums in periods.values()), default=0)
    bars = [_bar(place, sums, busiest or 1) for place, sums in enumerate(periods.values())]
    return SmallChart(bars, "; ".join(_hours_in_words(periods)) or "none", busiest)


def _bar(place: int, sums: Sums, busiest: int) -> Bar:
    """An hour with one failed address stays visible beside a million."""
    sent, failed = (-(-sums.counts[name] * _BAR_HEIGHT // busiest) for name in ("sent", "failed"))
    return Bar(place * _BAR_STEP, _BAR_HEIGHT - sent, sent, failed)


def _hours_in_words(periods: Mapping[Period, Sums]) -> Iterator[str]:
    for hour, sums in periods.items():
        numbers = [f"{sums.counts[name]:,} {name}" for name in ("sent", "failed") if sums.counts[name]]
        if numbers and isinstance(hour, datetime):
            yield f"{timezone.localtime(hour):%H:%M} {', '.join(numbers)}"
