"""Which emails went to recipients outside: from the counts to the rows that were counted."""

from __future__ import annotations

from datetime import datetime

from analytics.guarantee.figures import visible_rows
from analytics.guarantee.rules import with_rules
from analytics.models import CountedRule, HourlyRuleCount
from analytics.rollup import read_tries
from outbox.access.visibility import LogAccess
from outbox.models import Attempt

SHOWN_AT_MOST = 20
_ROWS_AT_MOST = 500


def emails_by(rule: CountedRule, access: LogAccess, since: datetime) -> list[int]:
    """The numbers of the newest emails whose tries were counted by this rule, SHOWN_AT_MOST of them."""
    counts = HourlyRuleCount.objects.filter(visible_rows(access), hour__gte=since, rule=rule).order_by("-hour", "-last_try")
    numbers: dict[int, None] = {}
    for counted in counts[:SHOWN_AT_MOST]:
        tries = Attempt.objects.filter(pk__range=(counted.first_try, counted.last_try)).order_by("-pk")
        tries = tries.filter(message__app=counted.app_id, message__stage=counted.stage_id)
        for attempt, its_rule in with_rules(read_tries(tries[:_ROWS_AT_MOST])):
            if its_rule == rule and attempt.outcome in (Attempt.Outcome.SENT, Attempt.Outcome.UNKNOWN):
                numbers[attempt.message_id] = None
    return list(numbers)[:SHOWN_AT_MOST]
