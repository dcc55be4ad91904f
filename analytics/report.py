"""The figures of Analytics: the roll-ups (see rollup) of some stages and apps, summed up over a time range."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db.models import F, Model, Q, Sum, TextField
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, TruncDate
from django.utils import timezone

from analytics.causes import explanation_of
from analytics.latency import percentile
from analytics.models import DailyCount, DailyLatency, HourlyCause, HourlyCount, HourlyLatency, StageCount, StageLatency
from common.clock import parse_db_time
from emailconfig.connection.explanations import Explanation
from organization.models import App, Stage
from outbox.access.visibility import LogAccess

TOP_APPS = 10
_FAILURES = ("failed", "deferred", "unknown")
_COUNTS = ("accepted", "to_test_list", "captured", "allowed", "sent", *_FAILURES)
# What the member may see of each stage.
Places = Mapping[Stage, LogAccess]
Period = datetime | date


@dataclass(frozen=True)
class Range:
    """A time range that can be chosen, in hours or days. The last hour or day isn't over yet."""

    key: str
    label: str
    count: int
    by_day: bool

    @property
    def unit(self) -> str:
        return "Day" if self.by_day else "Hour"

    def periods(self) -> list[Period]:
        """Return the days, or the beginnings of the hours.

        Days are in the member's time zone. Hours are in UTC, because they were counted so.
        """
        back = list(reversed(range(self.count)))
        if self.by_day:
            today = timezone.localdate()
            return [today - timedelta(days=days) for days in back]
        hour = _hour(timezone.now())
        return [hour - timedelta(hours=hours) for hours in back]

    def begin(self) -> datetime:
        first = self.periods()[0]
        return first if isinstance(first, datetime) else timezone.make_aware(datetime.combine(first, time.min))

    def period_of(self, hour: datetime) -> Period:
        return timezone.localdate(hour) if self.by_day else hour


RANGES = (Range("24h", "24 hours", 24, False), Range("7d", "7 days", 7, True), Range("30d", "30 days", 30, True))


def range_of(key: str | None) -> Range:
    """Return the range with that key, or else the first one."""
    return next((choice for choice in RANGES if choice.key == key), RANGES[0])


@dataclass(frozen=True)
class Sums:
    """The sums of one time or app.

    `counts` has messages: accepted, to_test_list, and the peak of held. It has recipients: captured and allowed. It also has
    the tries to reach one address that ended as sent, failed, deferred and unknown. `latencies` has the number of sent
    addresses in each bucket.
    """

    counts: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)

    def __iadd__(self, other: Sums) -> Sums:
        """Add the sums of another time. It works in place, because a month has many hours."""
        held = max(self.counts["held"], other.counts["held"])
        self.counts.update(other.counts)
        if held:
            self.counts["held"] = held
        self.latencies.update(other.latencies)
        return self

    @property
    def p50(self) -> float | None:
        return percentile(self.latencies, 0.5)

    @property
    def p95(self) -> float | None:
        return percentile(self.latencies, 0.95)

    @property
    def test_list_share(self) -> float | None:
        """The share of accepted messages that went to test lists, in percent."""
        return 100 * self.counts["to_test_list"] / self.counts["accepted"] if self.counts["accepted"] else None


class AppSums(NamedTuple):
    app: App
    sums: Sums


@dataclass(frozen=True)
class Cause:
    """A reason why tries in a stage didn't end as sent, their number, and the apps they belong to."""

    stage: Stage
    explanation: Explanation
    counts: Counter[str]
    app_ids: Sequence[int]


@dataclass(frozen=True)
class Analytics:
    """The figures of one range.

    They are the totals, the sums by hour or day, the apps with the most messages, the number of apps that had any, and what
    went wrong (worst first).
    """

    total: Sums
    periods: Mapping[Period, Sums]
    apps: Sequence[AppSums]
    app_count: int
    causes: Sequence[Cause]


class _VisibleHours(NamedTuple):
    """The rows that a member sees: some stages as a whole, and the rows of some apps in others."""

    stages: Sequence[int]
    of_some_apps: Q

    @property
    def rows(self) -> Q:
        return Q(stage__in=self.stages) | self.of_some_apps


def analytics(places: Places, shown: Range) -> Analytics:
    """Return all figures in at most ten queries, however many apps and messages there are."""
    visible = _visible_hours(places)
    periods = _periods(visible, shown)
    total = Sums()
    for sums in periods.values():
        total += sums
    apps, app_count = _top_apps(visible, shown)
    return Analytics(
        total=total,
        periods=periods,
        apps=apps,
        app_count=app_count,
        causes=_causes(places, visible.rows & Q(hour__range=(shown.begin(), timezone.now()))),
    )


def _visible_hours(places: Places) -> _VisibleHours:
    """Return the shortest condition. With a list of all apps for each stage, databases would read the whole table."""
    whole = [stage.pk for stage, access in places.items() if access.every_app]
    stages: defaultdict[frozenset[int], list[int]] = defaultdict(list)
    for stage, access in places.items():
        if not access.every_app:
            stages[access.some_app_ids].append(stage.pk)
    of_some_apps = Q(pk__in=[])
    for numbers, alike in stages.items():
        of_some_apps |= Q(stage__in=alike, app__in=numbers)
    return _VisibleHours(whole, of_some_apps)


def _periods(visible: _VisibleHours, shown: Range) -> dict[Period, Sums]:
    """Sum up by hour or day. The rows are hours, because days begin at different hours in different time zones."""
    hours, by_hour, by_period = Q(hour__range=(shown.begin(), timezone.now())), _nothing(), _nothing()
    whole, some = hours & Q(stage__in=visible.stages), hours & visible.of_some_apps
    # By the hour, since the most that was held at once is that of an hour.
    _add_counts(by_hour, "hour", (*_COUNTS, "held"), (StageCount, whole), (HourlyCount, some))
    for hour, sums in by_hour.items():
        by_period[shown.period_of(hour)] += sums
    _add_latencies(by_period, TruncDate("hour") if shown.by_day else "hour", (StageLatency, whole), (HourlyLatency, some))
    return {period: by_period[period] for period in shown.periods()}


class Ended(NamedTuple):
    """The tries of one hour or day that ended as sent, and those that failed."""

    sent: int = 0
    failed: int = 0


def periods_by_stage(places: Places, shown: Range) -> dict[int, dict[Period, Ended]]:
    """Return what was sent and what failed in each stage by hour or day, in at most two queries.

    The hours come as text. To make times of them took the driver for PostgreSQL longer than the rest of the query.
    """
    visible = _visible_hours(places)
    hours, periods = Q(hour__range=(shown.begin(), timezone.now())), shown.periods()
    by_stage = {stage.pk: dict.fromkeys(periods, Ended()) for stage in places}
    tables: list[tuple[type[Model], Q]] = [(StageCount, Q(stage__in=visible.stages))] if visible.stages else []
    if len(visible.stages) < len(places):
        tables.append((HourlyCount, visible.of_some_apps))
    for model, rows in tables:
        for stage, hour, sent, failed in grouped(model, hours & rows, ("stage_id", Cast("hour", TextField())), Ended._fields):
            period = shown.period_of(parse_db_time(hour))
            if before := by_stage[stage].get(period):
                by_stage[stage][period] = Ended(before.sent + sent, before.failed + failed)
    return by_stage


def rows_of(places: Places) -> Q:
    """Return the condition for what belongs to these places."""
    return _visible_hours(places).rows


def _top_apps(visible: _VisibleHours, shown: Range) -> tuple[list[AppSums], int]:
    """Return the apps with the most messages, and the number of apps that had any.

    The sums come from the totals of whole days in UTC, and from the hours before the first of these days.
    """
    begin, now = shown.begin(), timezone.now()
    midnight = next_midnight(begin)
    hours = visible.rows & Q(hour__gte=begin, hour__lt=midnight)
    days = visible.rows & Q(day__range=(midnight.date(), now.astimezone(UTC).date()))
    by_app = _nothing()
    _add_counts(by_app, "app_id", _COUNTS, (HourlyCount, hours), (DailyCount, days))
    busy = {number: sums for number, sums in by_app.items() if any(sums.counts.values())}
    top = _most_messages(busy)
    of_top = Q(app__in=[app_sums.app.pk for app_sums in top])
    _add_latencies(by_app, "app_id", (HourlyLatency, hours & of_top), (DailyLatency, days & of_top))
    return top, len(busy)


def _most_messages(busy: Mapping[int, Sums]) -> list[AppSums]:
    """Return the first apps. Only apps that may be among them are read: an organization may have thousands."""
    ranks = {number: (-sums.counts["accepted"], -sums.counts["sent"]) for number, sums in busy.items()}
    last = max(sorted(ranks.values())[:TOP_APPS], default=(0, 0))
    apps = App.objects.in_bulk([number for number, rank in ranks.items() if rank <= last])
    order = sorted(apps.values(), key=lambda app: (ranks[app.pk], app.name))
    return [AppSums(app, busy[app.pk]) for app in order[:TOP_APPS]]


def next_midnight(moment: datetime) -> datetime:
    """Return the next midnight in UTC, or the moment itself if it is midnight."""
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight == moment else midnight + timedelta(days=1)


def _nothing() -> defaultdict[Any, Sums]:
    return defaultdict(Sums)


def _add_counts(to: defaultdict[Any, Sums], key: str, columns: Sequence[str], *tables: tuple[type[Model], Q]) -> None:
    for model, rows in tables:
        for of, *numbers in grouped(model, rows, (key,), columns):
            to[of].counts.update(dict(zip(columns, numbers, strict=True)))


def _add_latencies(to: defaultdict[Any, Sums], key: str | Combinable, *tables: tuple[type[Model], Q]) -> None:
    for model, rows in tables:
        for of, bucket, sent in grouped(model, rows, (key, "bucket"), ("sent",)):
            to[of].latencies[bucket] += sent


def _causes(places: Places, rows: Q) -> list[Cause]:
    """Return the causes by stage, because people fix them there and the email log shows them there."""
    counts: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    concerned: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    stages = {stage.pk: stage for stage in places}
    for stage, code, app, *numbers in grouped(HourlyCause, rows, ("stage_id", "code", "app_id"), _FAILURES):
        counts[stage, code].update(dict(zip(_FAILURES, numbers, strict=True)))
        concerned[stage, code].append(app)
    causes = [Cause(stages[key[0]], explanation_of(key[1]), counts[key], concerned[key]) for key in counts]
    return sorted(causes, key=lambda cause: [-cause.counts[name] for name in _FAILURES])


def grouped(model: type[Model], rows: Q, keys: Sequence[str | Combinable], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the keys and the sum of each of `columns`, for each combination of `keys`."""
    named = {f"key{place}": F(key) if isinstance(key, str) else key for place, key in enumerate(keys)}
    sums = {f"{column}_sum": Sum(column) for column in columns}
    of_keys = model._default_manager.filter(rows).order_by().values(**named)
    groups: list[tuple[Any, ...]] = list(of_keys.annotate(**sums).values_list(*named, *sums))
    return groups


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
