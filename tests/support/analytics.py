"""Messages for analytics to count, and its counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import Model, Sum
from django.utils import timezone

from analytics.models import (
    DailyCount,
    DailyLatency,
    DailyRuleCount,
    HourlyCause,
    HourlyCount,
    HourlyLatency,
    HourlyRuleCount,
    StageCount,
    StageLatency,
    StageRuleCount,
)
from analytics.rollup import roll_up
from organization.models import App, Stage
from outbox.access.visibility import LogAccess
from outbox.models import Attempt, Message, RouteKind, Status
from tests.support.outbox import in_state

COUNTS = (
    *(HourlyCount, StageCount, DailyCount, HourlyLatency, StageLatency, DailyLatency, HourlyCause),
    *(HourlyRuleCount, StageRuleCount, DailyRuleCount),
)
REPLIES = {
    "sent": ("content", 250, "250 2.0.0 Ok"),
    "deferred": ("RCPT TO", 451, "451 4.7.1 Greylisted, try again later"),
    "failed": ("RCPT TO", 550, "550 5.1.1 No such user"),
    "unknown": ("content", None, "The connection broke before the server answered."),
}
OUTCOMES = tuple(REPLIES)


def seen(places: Mapping[Stage, Sequence[App]]) -> dict[Stage, LogAccess]:
    """Access to these apps in these stages. Where they are all apps, as a member has it who may read the whole stage."""
    return {
        stage: LogAccess(stage, True, True) if len(apps) == App.objects.count() else LogAccess(stage, False, False, tuple(apps))
        for stage, apps in places.items()
    }


def ago(**span: float) -> datetime:
    return timezone.now() - timedelta(**span)


def accepted(app: App, stage: Stage, at: datetime, **fields: object) -> Message:
    """A message with this time of acceptance."""
    values = {"route": RouteKind.RECIPIENTS, "due": at, **in_state(str(fields.get("status", Status.SENT))), **fields}
    return Message.objects.create(
        app=app, stage=stage, via="gateway", requested=["c@example.com"], message_id="<1@x>", size=9, created=at, **values
    )


def tried(message: Message, at: datetime, outcome: str = "sent", address: str = "c@example.com") -> Attempt:
    step, code, reply = REPLIES[outcome]
    return Attempt.objects.create(
        message=message, created=at, address=address, outcome=outcome, step=step, code=code, reply=reply
    )


def counted(**where: object) -> dict[str, int]:
    """The sums of all counts, without zeros."""
    columns = ("accepted", "to_test_list", "held", *OUTCOMES)
    sums = HourlyCount.objects.filter(**where).aggregate(**{f"n_{column}": Sum(column) for column in columns})
    return {column: sums[f"n_{column}"] for column in columns if sums[f"n_{column}"]}


def everything_counted() -> None:
    while roll_up():
        pass


def sums_of(model: type[Model], keys: Sequence[str], columns: Sequence[str]) -> dict[object, int]:
    """The sum of each of `columns` for each of `keys`, without zeros. Days are in UTC."""
    sums: Counter[object] = Counter()
    for row in model._default_manager.all():
        day = getattr(row, "day", None) or row.hour.astimezone(UTC).date()
        key = tuple(day if name == "day" else getattr(row, name) for name in keys)
        sums.update({(key, column): getattr(row, column) for column in columns})
    return dict(+sums)


def assert_totals_fit() -> None:
    """Assert that the totals of stages and of days are the sums of their hours."""
    emails, reached = ("accepted", "to_test_list", *OUTCOMES), ("recipients", "unknown")
    for total, hourly, keys, columns in (
        (StageCount, HourlyCount, ("stage_id", "hour"), emails),
        (DailyCount, HourlyCount, ("stage_id", "app_id", "day"), emails),
        (StageLatency, HourlyLatency, ("stage_id", "hour", "bucket"), ("sent",)),
        (DailyLatency, HourlyLatency, ("stage_id", "app_id", "day", "bucket"), ("sent",)),
        (StageRuleCount, HourlyRuleCount, ("stage_id", "hour", "rule"), reached),
        (DailyRuleCount, HourlyRuleCount, ("stage_id", "app_id", "day", "rule"), reached),
    ):
        assert sums_of(total, keys, columns) == sums_of(hourly, keys, columns)
