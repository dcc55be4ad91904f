"""Count by which rule addresses got email, from the tries that were sent or may have arrived.

A try says its rule. For email to the recipients that apps gave, the audit trail decides whether the app could write to them at
the time of the claim: that is the last moment at which policy and list were asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models

from analytics.guarantee.history import History
from analytics.models import CountedRule, DailyRuleCount, HourlyRuleCount
from analytics.rows import AttemptRow
from organization.models import Stage
from outbox.models import Attempt, Message, Recipient, RouteKind, Rule

_MESSAGES_PER_QUERY = 1000
_REACHED = (Attempt.Outcome.SENT, Attempt.Outcome.UNKNOWN)
# The clocks of the database and of the portal's machines may differ by so much.
_CLOCKS = timedelta(seconds=5)
# Of a worker that died, and of older versions, the time of the claim isn't known. It counts as so long before the try.
_CLAIMED_BEFORE = timedelta(minutes=10)
# The rule of recipients from before rules were kept.
_RULE_OF_ROUTE = {RouteKind.TEST_LIST: Rule.TEST_LIST, RouteKind.RELEASED: Rule.RELEASED}

_Additions = dict[type[models.Model], dict[tuple[object, ...], Counter[str]]]


def rule_additions(tries: Sequence[AttemptRow]) -> _Additions:
    """What these tries add to the counts of each hour and day. They are in the order of their numbers."""
    hours: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    days: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for attempt, rule in with_rules([attempt for attempt in tries if attempt.outcome in _REACHED]):
        hour = attempt.created.replace(minute=0, second=0, microsecond=0)
        day = attempt.created.astimezone(UTC).date()
        for counts in (hours[attempt.stage_id, hour, attempt.app_id, rule], days[attempt.stage_id, day, attempt.app_id, rule]):
            counts["recipients"] += attempt.outcome == Attempt.Outcome.SENT
            counts["unknown"] += attempt.outcome == Attempt.Outcome.UNKNOWN
            counts["first_try"] = counts["first_try"] or attempt.pk
            counts["last_try"] = attempt.pk
    return {HourlyRuleCount: hours, DailyRuleCount: days}


def with_rules(tries: Sequence[AttemptRow]) -> list[tuple[AttemptRow, str]]:
    """Each try with the value of its CountedRule."""
    rules = stored_rules([attempt for attempt in tries if not attempt.rule])
    decided = [(attempt, attempt.rule or rules[attempt.pk]) for attempt in tries]
    histories = _histories([attempt for attempt, rule in decided if rule == Rule.AS_APPS_ASK])
    return [
        (attempt, (_rule_in(histories[attempt.stage_id], attempt) if rule == Rule.AS_APPS_ASK else CountedRule(rule)).value)
        for attempt, rule in decided
    ]


def stored_rules(tries: Sequence[AttemptRow]) -> dict[int, str]:
    """The rule of tries that don't say it, by their numbers: that of their recipient as it is stored now.

    Who isn't a recipient any more, or was captured after the try, got it as a recipient that the app gave.
    """
    rules: dict[int, str] = {}
    for start in range(0, len(tries), _MESSAGES_PER_QUERY):
        some = tries[start : start + _MESSAGES_PER_QUERY]
        numbers = {attempt.message_id for attempt in some}
        recipients = Recipient.objects.filter(message__in=numbers).order_by()
        rows = recipients.values_list("message_id", "address", "rule")
        stored = {(message, address): rule for message, address, rule in rows}
        routes = dict(Message.objects.filter(pk__in=numbers).order_by().values_list("pk", "route"))
        for attempt in some:
            rule = stored.get((attempt.message_id, attempt.address), Rule.AS_APPS_ASK.value)
            rule = rule or _RULE_OF_ROUTE.get(RouteKind(routes[attempt.message_id]), Rule.AS_APPS_ASK).value
            rules[attempt.pk] = Rule.AS_APPS_ASK.value if rule == Rule.CAPTURED else rule
    return rules


def _histories(tries: Sequence[AttemptRow]) -> dict[int, History]:
    """Of the stages of these tries, since the first of them was claimed."""
    first: dict[int, datetime] = {}
    for attempt in tries:
        first[attempt.stage_id] = min(_claimed(attempt), first.get(attempt.stage_id, _claimed(attempt)))
    stages = Stage.objects.in_bulk(list(first))
    return {stage: History(stages[stage], since - _CLOCKS) for stage, since in first.items()}


def _rule_in(history: History, attempt: AttemptRow) -> CountedRule:
    closed = history.closed_since(attempt.app_id, attempt.created)
    if closed is None:
        return CountedRule.OPEN
    return CountedRule.CLOSING if _claimed(attempt) < _later(closed) else CountedRule.CLOSED


def _later(moment: datetime) -> datetime:
    return moment + _CLOCKS


def _claimed(attempt: AttemptRow) -> Any:
    return attempt.claimed or attempt.created - timedelta(seconds=attempt.seconds) - _CLAIMED_BEFORE
