"""The stages on Home: a row for each stage whose log the member may read, with its last 24 hours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from django.core.exceptions import PermissionDenied

from analytics.report import RANGES, Period, Places, Sums, periods_by_stage
from common.clock import database_now
from delivery.models import StageBackoff
from emailconfig.models import SmtpSettings
from organization.models import App, Member, Stage
from outbox.access.visibility import log_access
from outbox.counts.backlog import Backlog, backlog
from outbox.models import Pause
from testlists.models import TestList

_CHART_HEIGHT = 28
_BAR_STEP = 4
_LAST_DAY = RANGES[0]


class Bar(NamedTuple):
    """One hour of the small chart: what failed is drawn above what was sent."""

    x: int
    sent_y: int
    sent: int
    failed_y: int
    failed: int


@dataclass(frozen=True)
class StageRow:
    stage: Stage
    server: str
    state: str
    sent: int
    failed: int
    backlog: Backlog
    bars: list[Bar]
    active_lists: int


def visible_places(member: Member, stages: Collection[Stage]) -> dict[Stage, list[App]]:
    """Return the apps of each stage whose log the member may read."""
    places, apps = {}, list(App.objects.all())
    for stage in stages:
        with suppress(PermissionDenied):
            places[stage] = log_access(member, stage, apps).apps
    return places


def stage_rows(places: Places) -> list[StageRow]:
    """Return a row for each stage. The number of queries doesn't grow with the stages."""
    settings = {row.stage_id: row for row in SmtpSettings.objects.filter(stage__in=places)}
    states = _states(places)
    waiting, figures, lists = backlog(places), periods_by_stage(places, _LAST_DAY), _active_lists(places)
    return [
        StageRow(
            stage,
            f"{settings[stage.pk].server}:{settings[stage.pk].port}" if stage.pk in settings else "",
            states.get(stage.pk, "Configured") if stage.pk in settings else "Not configured",
            sum(sums.counts["sent"] for sums in figures[stage.pk].values()),
            sum(sums.counts["failed"] for sums in figures[stage.pk].values()),
            waiting[stage],
            _bars(figures[stage.pk]),
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


def _bars(periods: Mapping[Period, Sums]) -> list[Bar]:
    highest = max((sums.counts["sent"] + sums.counts["failed"] for sums in periods.values()), default=0) or 1
    return [_bar(place, sums, highest) for place, sums in enumerate(periods.values())]


def _bar(place: int, sums: Sums, highest: int) -> Bar:
    """An hour with one failed email stays visible beside a million."""
    failed = -(-sums.counts["failed"] * _CHART_HEIGHT // highest)
    sent = min(-(-sums.counts["sent"] * _CHART_HEIGHT // highest), _CHART_HEIGHT - failed)
    return Bar(place * _BAR_STEP, _CHART_HEIGHT - sent, sent, _CHART_HEIGHT - sent - failed, failed)
