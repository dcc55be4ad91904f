"""What Analytics shows: the roll-ups (see rollup) of some stages and apps, summed up over a range of time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db.models import Model, Q, Sum
from django.utils import timezone

from emailconfig.connection.explanations import Explanation
from organization.models import App, Stage
from outbox.causes import explanation_of
from outbox.latency import percentile
from outbox.models import HourlyCause, HourlyCount, HourlyLatency

_MAILS = ("accepted", "to_test_list")
_TROUBLE = ("failed", "deferred", "unknown")
# Where mail is looked at: the apps of each stage that the member may see.
Places = Mapping[Stage, Sequence[App]]
Period = datetime | date


@dataclass(frozen=True)
class Range:
    """A time range that can be chosen: so many hours, or days. The last has only begun."""

    key: str
    label: str
    count: int
    by_day: bool

    @property
    def unit(self) -> str:
        return "Day" if self.by_day else "Hour"

    def periods(self) -> list[Period]:
        """The days, or the beginnings of the hours. Days are the member's own, hours those of UTC, as they were counted."""
        back = list(reversed(range(self.count)))
        if self.by_day:
            return [timezone.localdate() - timedelta(days=days) for days in back]
        return [_hour(timezone.now()) - timedelta(hours=hours) for hours in back]

    def begin(self) -> datetime:
        first = self.periods()[0]
        return first if isinstance(first, datetime) else timezone.make_aware(datetime.combine(first, time.min))

    def period_of(self, hour: datetime) -> Period:
        return timezone.localdate(hour) if self.by_day else hour


RANGES = (Range("24h", "24 hours", 24, False), Range("7d", "7 days", 7, True), Range("30d", "30 days", 30, True))


def range_of(key: str | None) -> Range:
    """The range with that key, or the first."""
    return next((one for one in RANGES if one.key == key), RANGES[0])


@dataclass(frozen=True)
class Sums:
    """`counts`: mails that were accepted and to_test_list; held, the most of them at one time; tries to reach one address that
    ended as sent, failed, deferred and unknown. `latencies`: how many of those sent in which bucket."""

    counts: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: Sums) -> Sums:
        """Of one time and the next."""
        counts = self.counts + other.counts
        if counts["held"]:
            counts["held"] = max(self.counts["held"], other.counts["held"])
        return Sums(counts, self.latencies + other.latencies)

    @property
    def p50(self) -> float | None:
        return percentile(self.latencies, 0.5)

    @property
    def p95(self) -> float | None:
        return percentile(self.latencies, 0.95)

    @property
    def test_list_share(self) -> float | None:
        """How much of the accepted mail went to test lists, in per cent."""
        return 100 * self.counts["to_test_list"] / self.counts["accepted"] if self.counts["accepted"] else None


class AppSums(NamedTuple):
    app: App
    sums: Sums


@dataclass(frozen=True)
class Cause:
    """Why tries in a stage didn't end as sent, how many, and those of which apps."""

    stage: Stage
    explanation: Explanation
    counts: Counter[str]
    apps: Sequence[App]


@dataclass(frozen=True)
class Analytics:
    """One range: all of it, by hour or day, the apps that had any mail (most first), and what went wrong (worst first)."""

    total: Sums
    periods: Mapping[Period, Sums]
    apps: Sequence[AppSums]
    causes: Sequence[Cause]


def analytics(places: Places, shown: Range) -> Analytics:
    """Everything in six queries, however many apps and mails."""
    rows = _rows_of(places, shown)
    by_hour = _sums_by("hour", rows)
    by_app = _sums_by("app_id", rows)
    periods = {period: Sums() for period in shown.periods()}
    for hour, sums in by_hour.items():
        period = shown.period_of(hour)
        if period in periods:
            periods[period] += sums
    return Analytics(
        total=sum(periods.values(), Sums()),
        periods=periods,
        apps=_ranked(by_app, places),
        causes=_causes(places, rows),
    )


def _sums_by(column: str, rows: Q) -> dict[Any, Sums]:
    found: defaultdict[Any, Sums] = defaultdict(Sums)
    columns = (*_MAILS, "sent", *_TROUBLE, *(("held",) if column == "hour" else ()))  # not to be added up over hours
    for key, *numbers in _grouped(HourlyCount, rows, (column,), columns):
        found[key].counts.update(dict(zip(columns, numbers, strict=True)))
    for key, bucket, sent in _grouped(HourlyLatency, rows, (column, "bucket"), ("sent",)):
        found[key].latencies[bucket] += sent
    return found


def _ranked(by_app: Mapping[int, Sums], places: Places) -> list[AppSums]:
    apps = _by_number(places)
    found = [AppSums(apps[number], sums) for number, sums in by_app.items()]
    return sorted(found, key=lambda one: (-one.sums.counts["accepted"], -one.sums.counts["sent"], one.app.name))


def _causes(places: Places, rows: Q) -> list[Cause]:
    """By stage, since that is where something can be done, and where the email log shows them."""
    counts: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    concerned: defaultdict[tuple[int, str], list[App]] = defaultdict(list)
    apps, stages = _by_number(places), {stage.pk: stage for stage in places}
    for stage, code, app, *numbers in _grouped(HourlyCause, rows, ("stage_id", "code", "app_id"), _TROUBLE):
        counts[stage, code].update(dict(zip(_TROUBLE, numbers, strict=True)))
        concerned[stage, code].append(apps[app])
    found = [Cause(stages[key[0]], explanation_of(key[1]), counts[key], concerned[key]) for key in counts]
    return sorted(found, key=lambda cause: [-cause.counts[name] for name in _TROUBLE])


def _grouped(model: type[Model], rows: Q, keys: Sequence[str], columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """For each combination of `keys`, these and the sum of each of `columns`."""
    sums = {f"{column}_sum": Sum(column) for column in columns}
    of_keys = model._default_manager.filter(rows).order_by().values(*keys)
    found: list[tuple[Any, ...]] = list(of_keys.annotate(**sums).values_list(*keys, *sums))
    return found


def _rows_of(places: Places, shown: Range) -> Q:
    """The rows of that range and these places, said as shortly as can be: for a stage at a time with all its apps, databases
    read the whole table."""
    everything = set(App.objects.values_list("pk", flat=True))
    stages: defaultdict[frozenset[int], list[int]] = defaultdict(list)
    for stage, apps in places.items():
        stages[frozenset(app.pk for app in apps)].append(stage.pk)
    found = Q(pk__in=[])
    for numbers, alike in stages.items():
        found |= Q(stage__in=alike) if numbers == everything else Q(stage__in=alike, app__in=numbers)
    return found & Q(hour__range=(shown.begin(), timezone.now()))


def _by_number(places: Places) -> dict[int, App]:
    return {app.pk: app for apps in places.values() for app in apps}


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
