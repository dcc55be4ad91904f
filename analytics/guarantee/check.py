"""Compare the roll-ups of a guarantee with the rows that they were counted from. It reads all of these rows."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple

from django.db.models import Case, CharField, Count, Exists, F, OuterRef, QuerySet, Subquery, Value, When

from analytics.guarantee.figures import Figures
from analytics.models import CountedRule, RollUpPosition
from outbox.access.visibility import LogAccess
from outbox.models import Attempt, HandOverCapture, Message, Recipient, RouteKind, Rule

_NAMES = {
    "emails": "Accepted emails",
    "captured": "Captured copies",
    Rule.TEST_LIST: "Test list",
    Rule.ALLOWED: "Allowed address",
    Rule.RELEASED: "Released by a person",
    Rule.FORWARDED: "Forwarded by a person",
    Rule.AS_APPS_ASK: "Recipients that apps gave",
}


class Comparison(NamedTuple):
    """One figure as the roll-ups say it, and as the rows say it."""

    name: str
    counted: int
    in_rows: int

    @property
    def fits(self) -> bool:
        return self.counted == self.in_rows


def compare(access: LogAccess, since: datetime, total: Figures) -> list[Comparison]:
    """`total` are the figures since that hour."""
    counted: dict[str, int] = {
        "emails": total.emails,
        "captured": total.captured,
        Rule.AS_APPS_ASK: total.outside,
        **{rule: total.recipients[CountedRule(rule)] for rule in Rule if rule.value in CountedRule.values},
    }
    positions = dict(RollUpPosition.objects.values_list("counted", "last"))
    messages = access.messages().filter(created__gte=since, pk__lte=positions.get("mails", 0)).order_by()
    in_rows = Counter[str](_reached(access, since, positions.get("tries", 0)))
    in_rows["emails"] = messages.count()
    in_rows["captured"] = _captured(access, messages, since, positions.get("captures", 0))
    return [Comparison(name, counted[key], in_rows[key]) for key, name in _NAMES.items()]


def _captured(access: LogAccess, messages: QuerySet[Message], since: datetime, last_capture: int) -> int:
    """Copies captured at acceptance count by the email's time, and those captured at hand-over by their own."""
    at_hand_over = HandOverCapture.objects.filter(message=OuterRef("message"), address=OuterRef("address"))
    recipients = Recipient.objects.filter(message__in=messages, rule=Rule.CAPTURED).exclude(Exists(at_hand_over))
    later = HandOverCapture.objects.filter(created__gte=since, pk__lte=last_capture, message__stage=access.stage)
    return recipients.count() + (later if access.every_app else later.filter(message__app__in=access.apps)).count()


def _reached(access: LogAccess, since: datetime, last_try: int) -> dict[str, int]:
    """By rule, how many addresses the server accepted email for."""
    tries = Attempt.objects.filter(message__stage=access.stage, created__gte=since, pk__lte=last_try, outcome="sent")
    if not access.every_app:
        tries = tries.filter(message__app__in=access.apps)
    recipient = Recipient.objects.filter(message=OuterRef("message"), address=OuterRef("address"))
    stored = Case(
        When(rule="", then=Subquery(recipient.values("rule")[:1])), default=F("rule"), output_field=CharField(max_length=10)
    )
    of_route = Case(
        When(message__route=RouteKind.TEST_LIST, then=Value(Rule.TEST_LIST.value)),
        When(message__route=RouteKind.RELEASED, then=Value(Rule.RELEASED.value)),
        default=Value(Rule.AS_APPS_ASK.value),
    )
    known = tries.order_by().annotate(stored=stored).annotate(by=Case(When(stored="", then=of_route), default=F("stored")))
    return dict(known.values_list("by").annotate(count=Count("pk")))
