"""Analytics of one stage or all: the number of messages, their outcome, the time to send and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

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
from organization.models import App, Member, Stage
from organization.permissions import Permission
from organization.web.http import MemberRequest, StageLink, stage_links
from outbox.access.visibility import log_access, log_access_by_stage
from outbox.counts.backlog import Backlog, Depth, backlog
from outbox.models import Status

WORST_CAUSES = 10


@require_safe
def all_stages(request: MemberRequest) -> HttpResponse:
    return _page(request, _visible_places(request.user), None)


@require_safe
def one_stage(request: MemberRequest, stage_key: str) -> HttpResponse:
    stage = get_object_or_404(Stage, key=stage_key)
    return _page(request, {stage: log_access(request.user, stage)}, stage)


def _visible_places(member: Member) -> Places:
    """Return every stage whose log the member may read. Raises PermissionDenied if there is none."""
    places = log_access_by_stage(member, Stage.objects.all())
    if not places:
        require(member, EVERYWHERE, Permission.ACCESS_ASSET_LOGS)
    return places


def _page(request: MemberRequest, places: Places, stage: Stage | None) -> HttpResponse:
    shown, now = range_of(request.GET.get("range")), database_now()
    analysis, waiting = analytics(places, shown), backlog(places)
    context = {
        **_selectors(stage, shown),
        "total": analysis.total,
        "p50": _words(analysis.total.p50),
        "p95": _words(analysis.total.p95),
        "backlog": _row(sum(waiting.values(), Backlog()), now),
        "stages": [(place, _row(waiting[place], now)) for place in waiting] if stage is None else [],
        "charts": [_mail(analysis, shown), _failures(analysis, shown), _test_lists(analysis, shown)],
        "latency_chart": _latencies(analysis),
        "times": [(_name(period), _words(sums.p50), _words(sums.p95)) for period, sums in analysis.periods.items()],
        "apps": [(top.app, top.sums.counts, _words(top.sums.p95)) for top in analysis.apps],
        "app_count": analysis.app_count,
        "causes": _cause_rows(analysis.causes[:WORST_CAUSES]),
        "cause_count": len(analysis.causes),
        "behind_since": uncounted_since(now),
    }
    return render(request, "analytics/analytics.html", context)


def _selectors(stage: Stage | None, shown: Range) -> dict[str, object]:
    """Return the chosen stage and range, and the URLs of the other choices. Each choice keeps the other one."""
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
    """A backlog in words. `age` says how long the first message has been waiting."""

    waiting: Depth
    age: str
    held: Depth


def _row(backlog: Backlog, now: datetime) -> _Row:
    oldest = backlog.waiting.oldest
    return _Row(backlog.waiting, in_words(max(0.0, (now - oldest).total_seconds())) if oldest else "", backlog.held)


def _mail(analysis: Analytics, shown: Range) -> Chart:
    series = [_series(analysis, "Accepted", "accepted", "blue"), _series(analysis, "Sent", "sent", "green", striped=True)]
    return _by_period("mail", "Accepted and sent", "Emails, addresses", analysis, shown, series)


def _failures(analysis: Analytics, shown: Range) -> Chart:
    series = [_series(analysis, "Failed", "failed", "red"), _series(analysis, "Deferred", "deferred", "amber", striped=True)]
    return _by_period("trouble", "Failed and deferred", "Tries", analysis, shown, series)


def _test_lists(analysis: Analytics, shown: Range) -> Chart:
    held = _series(analysis, "Peak held", "held", "amber", striped=True)
    series = [_series(analysis, "To test lists", "to_test_list", "blue"), held]
    return _by_period("test-lists", "To test lists, and held", "Emails", analysis, shown, series)


def _series(analysis: Analytics, name: str, count: str, colour: str, *, striped: bool = False) -> Series:
    return Series(name, colour, [sums.counts[count] for sums in analysis.periods.values()], striped)


def _by_period(key: str, title: str, y_title: str, analysis: Analytics, shown: Range, series: Sequence[Series]) -> Chart:
    x_title = f"{shown.unit} ({timezone.localtime():%Z})"
    return bar_chart(key, title, x_title, y_title, [_name(period) for period in analysis.periods], series)


def _latencies(analysis: Analytics) -> Chart:
    buckets = range(len(BOUNDS) + 1)
    sent = Series("Sent", "blue", [analysis.total.latencies[bucket] for bucket in buckets])
    labels = [label_of(bucket) for bucket in buckets]
    return bar_chart("time", "Time to send", "Time since the email was accepted", "Addresses", labels, [sent])


def _name(period: Period) -> str:
    """Return “14:00” for an hour, “Nov 23” for a day."""
    if isinstance(period, datetime):
        return f"{timezone.localtime(period):%H:%M}"
    return f"{period:%b} {period.day}"


def _words(seconds: float | None) -> str:
    return "–" if seconds is None else in_words(seconds)


def _cause_rows(causes: Sequence[Cause]) -> list[tuple[Cause, App | None, str]]:
    """Return each cause, its app if it concerns one alone, and the URL of the log."""
    apps = App.objects.in_bulk({cause.app_ids[0] for cause in causes})
    alone = [apps[cause.app_ids[0]] if len(cause.app_ids) == 1 else None for cause in causes]
    return [(cause, app, _log_of(cause, app)) for cause, app in zip(causes, alone, strict=True)]


def _log_of(cause: Cause, app: App | None) -> str:
    """Return the URL of the email log with the affected messages: the failed ones, or the deferred ones if none has failed."""
    query = {"status": Status.FAILED.value if cause.counts["failed"] else Status.DEFERRED.value}
    if app:
        query["app"] = app.key
    return f"{reverse('email-log', args=[cause.stage.key])}?{urlencode(query)}"
