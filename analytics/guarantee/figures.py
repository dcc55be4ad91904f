"""The figures of a guarantee, summed up from the roll-ups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Q

from analytics.models import (
    CountedRule,
    DailyCount,
    DailyRuleCount,
    HourlyCount,
    HourlyRuleCount,
    StageCount,
    StageRuleCount,
)
from analytics.report import grouped, next_midnight
from organization.models import Stage
from outbox.access.visibility import LogAccess

# Email to the recipients that apps gave, which neither a list nor an allowed address nor a person stands for.
OUTSIDE = (CountedRule.OPEN, CountedRule.CLOSING, CountedRule.CLOSED)
_MESSAGES, _REACHED = ("accepted", "captured"), ("recipients", "unknown")


@dataclass
class Figures:
    """Accepted emails, captured copies, and by rule the recipients who got email and the tries that may have reached one."""

    emails: int = 0
    captured: int = 0
    recipients: Counter[CountedRule] = field(default_factory=Counter)
    unknown: Counter[CountedRule] = field(default_factory=Counter)

    def add_messages(self, emails: int, captured: int) -> None:
        self.emails += emails
        self.captured += captured

    def add_reached(self, rule: CountedRule, recipients: int, unknown: int) -> None:
        self.recipients[rule] += recipients
        self.unknown[rule] += unknown

    @property
    def outside(self) -> int:
        """How many recipients outside lists, allowed addresses and acts of a person got email."""
        return sum(self.recipients[rule] for rule in OUTSIDE)

    @property
    def maybe_outside(self) -> int:
        """How many tries to reach such a recipient ended without an answer."""
        return sum(self.unknown[rule] for rule in OUTSIDE)

    @property
    def while_closed(self) -> int:
        """How many of them got email, or may have, although the stage was closed to them: 0, unless the portal is wrong."""
        return self.recipients[CountedRule.CLOSED] + self.unknown[CountedRule.CLOSED]


def figures_of_stage(stage: Stage, since: datetime) -> Figures:
    """Of all apps together since that hour. The stage's totals are few rows, however many apps there are."""
    hours, total = Q(stage=stage, hour__gte=since), Figures()
    for _, emails, captured in grouped(StageCount, hours, ("stage_id",), _MESSAGES):
        total.add_messages(emails, captured)
    for value, recipients, unknown in grouped(StageRuleCount, hours, ("rule",), _REACHED):
        total.add_reached(CountedRule(value), recipients, unknown)
    return total


def figures_by_app(access: LogAccess, since: datetime) -> Mapping[int, Figures]:
    """By the number of each app that the member may see and that had email since that hour.

    Hours until the first midnight in UTC, and whole days from there.
    """
    midnight, rows = next_midnight(since), visible_rows(access)
    hours = rows & Q(hour__gte=since, hour__lt=midnight)
    days = rows & Q(day__gte=midnight.date())
    by_app: defaultdict[int, Figures] = defaultdict(Figures)
    for counts, of_period in ((HourlyCount, hours), (DailyCount, days)):
        for app, emails, captured in grouped(counts, of_period, ("app_id",), _MESSAGES):
            by_app[app].add_messages(emails, captured)
    for rule_counts, of_period in ((HourlyRuleCount, hours), (DailyRuleCount, days)):
        for app, value, recipients, unknown in grouped(rule_counts, of_period, ("app_id", "rule"), _REACHED):
            by_app[app].add_reached(CountedRule(value), recipients, unknown)
    return by_app


def total_of(several: Iterable[Figures]) -> Figures:
    total = Figures()
    for figures in several:
        total.add_messages(figures.emails, figures.captured)
        for rule in figures.recipients:
            total.add_reached(rule, figures.recipients[rule], figures.unknown[rule])
    return total


def visible_rows(access: LogAccess) -> Q:
    """The counts of the stage that the member may see."""
    of_stage = Q(stage=access.stage)
    return of_stage if access.every_app else of_stage & Q(app__in=[app.pk for app in access.apps])
