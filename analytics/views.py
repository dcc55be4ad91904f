"""Analytics: how much mail there was, what became of it, how long it took and what went wrong; in a stage, or in all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from analytics.charts import Chart, Series, bar_chart
from analytics.latency import BOUNDS, in_words, label_of
from analytics.report import RANGES, Analytics, Cause, Period, Places, Range, analytics, range_of
from analytics.rollup import uncounted_since
from common.clock import database_now
from organization.access import EVERYWHERE, require
from organization.http import MemberRequest, StageLink, stage_links
from organization.models import App, Member, Stage
from organization.permissions import Permission
from outbox.backlog import Backlog, Depth, backlog
from outbox.models import Status
from outbox.visibility import sight_of

WORST_CAUSES = 10


@require_safe
def all_stages(request: MemberRequest) -> HttpResponse:
    return _page(request, _visible_places(request.user), None)


@require_safe
def one_stage(request: MemberRequest, stage: str) -> HttpResponse:
    found = get_object_or_404(Stage, key=stage)
    return _page(request, {found: sight_of(request.user, found).apps}, found)


def _visible_places(member: Member) -> dict[Stage, list[App]]:
    """Every stage whose log the member may read. Raises PermissionDenied when there is none."""
    places, apps = {}, list(App.objects.all())
    for stage in Stage.objects.all():
        with suppress(PermissionDenied):
            places[stage] = sight_of(member, stage, apps).apps
    if not places:
        require(member, EVERYWHERE, Permission.ACCESS_ASSET_LOGS)
    return places


def _page(request: MemberRequest, places: Places, stage: Stage | None) -> HttpResponse:
    shown, now = range_of(request.GET.get("range")), database_now()
    found, waiting = analytics(places, shown), backlog(places)
    context = {
        **_selectors(stage, shown),
        "total": found.total,
        "p50": _words(found.total.p50),
        "p95": _words(found.total.p95),
        "backlog": _row(sum(waiting.values(), Backlog()), now),
        "stages": [(one, _row(waiting[one], now)) for one in waiting] if stage is None else [],
        "charts": [_mail(found, shown), _trouble(found, shown), _test_lists(found, shown)],
        "latency_chart": _latencies(found),
        "times": [(_name(period), _words(sums.p50), _words(sums.p95)) for period, sums in found.periods.items()],
        "apps": [(one.app, one.sums.counts, _words(one.sums.p95)) for one in found.apps],
        "app_count": found.app_count,
        "causes": [(cause, _log_of(cause)) for cause in found.causes[:WORST_CAUSES]],
        "cause_count": len(found.causes),
        "behind_since": uncounted_since(now),
    }
    return render(request, "analytics/analytics.html", context)


def _selectors(stage: Stage | None, shown: Range) -> dict[str, object]:
    """What the page is about, and where the choices lead: each keeps the other."""
    everywhere = Stage(name="All stages")
    current = stage or everywhere

    def address(other: Stage) -> str:
        url = reverse("analytics") if other is everywhere else reverse("analytics", args=[other.key])
        return f"{url}?range={shown.key}"

    return {
        "stage": current,
        "stage_links": [StageLink(everywhere, address(everywhere)), *stage_links(current, address)],
        "ranges": RANGES,
        "range": shown,
    }


class _Row(NamedTuple):
    """A backlog in words. `age`: since when the first mail waits."""

    waiting: Depth
    age: str
    held: Depth


def _row(found: Backlog, now: datetime) -> _Row:
    oldest = found.waiting.oldest
    return _Row(found.waiting, in_words(max(0.0, (now - oldest).total_seconds())) if oldest else "", found.held)


def _mail(found: Analytics, shown: Range) -> Chart:
    series = [_series(found, "Accepted", "accepted", "blue"), _series(found, "Sent", "sent", "green", striped=True)]
    return _by_period("mail", "Accepted and sent", "Mails, addresses", found, shown, series)


def _trouble(found: Analytics, shown: Range) -> Chart:
    series = [_series(found, "Failed", "failed", "red"), _series(found, "Deferred", "deferred", "amber", striped=True)]
    return _by_period("trouble", "Failed and deferred", "Tries", found, shown, series)


def _test_lists(found: Analytics, shown: Range) -> Chart:
    held = _series(found, "Peak held", "held", "amber", striped=True)
    series = [_series(found, "To test lists", "to_test_list", "blue"), held]
    return _by_period("test-lists", "To test lists, and held", "Mails", found, shown, series)


def _series(found: Analytics, name: str, count: str, colour: str, *, striped: bool = False) -> Series:
    return Series(name, colour, [sums.counts[count] for sums in found.periods.values()], striped)


def _by_period(key: str, title: str, y_title: str, found: Analytics, shown: Range, series: Sequence[Series]) -> Chart:
    x_title = f"{shown.unit} ({timezone.localtime():%Z})"
    return bar_chart(key, title, x_title, y_title, [_name(period) for period in found.periods], series)


def _latencies(found: Analytics) -> Chart:
    buckets = range(len(BOUNDS) + 1)
    sent = Series("Sent", "blue", [found.total.latencies[bucket] for bucket in buckets])
    labels = [label_of(bucket) for bucket in buckets]
    return bar_chart("time", "Time to send", "Time since the mail was accepted", "Addresses", labels, [sent])


def _name(period: Period) -> str:
    """“14:00” for an hour, “Nov 23” for a day."""
    if isinstance(period, datetime):
        return f"{timezone.localtime(period):%H:%M}"
    return f"{period:%b} {period.day}"


def _words(seconds: float | None) -> str:
    return "–" if seconds is None else in_words(seconds)


def _log_of(cause: Cause) -> str:
    """The email log with the mail that it happened to: while some of it has failed, that."""
    wanted = {"status": Status.FAILED.value if cause.counts["failed"] else Status.DEFERRED.value}
    if len(cause.apps) == 1:
        wanted["app"] = cause.apps[0].key
    return f"{reverse('email-log', args=[cause.stage.key])}?{urlencode(wanted)}"
