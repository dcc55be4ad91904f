"""What the guarantee's page shows of its figures: the table by rule, the bar of the period, and links to emails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from analytics.guarantee.changes import Entry
from analytics.guarantee.report import Guarantee
from analytics.models import CountedRule
from organization.models import Stage
from outbox.models import RouteKind, Status

BAR_WIDTH = 1000


class RuleRow(NamedTuple):
    """One rule: how many got email by it, how many may have, what it means, and where its emails are."""

    name: str
    note: str
    recipients: int
    maybe: int
    url: str
    is_outside: bool = False


_INSIDE = (
    (CountedRule.TEST_LIST, "Test list", "The people on an Active test list, in place of the recipients", RouteKind.TEST_LIST),
    (CountedRule.ALLOWED, "Allowed addresses", "They may get email of their own from this stage", RouteKind.ALLOWED),
    (
        CountedRule.RELEASED,
        "Released by a person",
        "Email that a person sent to its real recipients on purpose",
        RouteKind.RELEASED,
    ),
    (CountedRule.FORWARDED, "Forwarded by a person", "Captured email that a person sent on to a tester", RouteKind.FORWARDED),
)
_OUTSIDE = (
    (CountedRule.OPEN, "Outside, while it was open", "Recipients that apps gave, while nothing kept email from them"),
    (CountedRule.CLOSING, "Outside, on the wire", "A worker had claimed the email before the stage was closed to them"),
    (CountedRule.CLOSED, "Outside, while it was closed", "This must never happen. Look at each of these emails"),
)


def rule_rows(guarantee: Guarantee, log_url: str, chosen: str) -> list[RuleRow]:
    """Those inside always, those outside only where there are any, but the first of them always."""
    total, period = guarantee.total, _log_period(guarantee.since, chosen)
    captured = urlencode({"status": Status.CAPTURED.value, **period})
    rows = [
        RuleRow(
            name, note, total.recipients[rule], total.unknown[rule], f"{log_url}?{urlencode({'route': route.value, **period})}"
        )
        for rule, name, note, route in _INSIDE
    ]
    rows.insert(
        2, RuleRow("Captured", "Nobody got these copies. They are kept in the portal", total.captured, 0, f"{log_url}?{captured}")
    )
    of_recipients = f"{log_url}?{urlencode({'route': RouteKind.RECIPIENTS.value, **period})}"
    return rows + [
        RuleRow(
            name,
            note,
            total.recipients[rule],
            total.unknown[rule],
            of_recipients if rule == CountedRule.OPEN else "",
            is_outside=True,
        )
        for rule, name, note in _OUTSIDE
        if rule == CountedRule.OPEN or total.recipients[rule] or total.unknown[rule]
    ]


def _log_period(since: datetime, chosen: str) -> dict[str, str]:
    """The period as the email log's filter understands it."""
    if chosen in ("24h", "7d", "30d"):
        return {"range": chosen}
    return {} if chosen == "all" else {"range": "custom", "start": f"{timezone.localtime(since):%Y-%m-%dT%H:%M}"}


class BarPart(NamedTuple):
    """A part of the period in which the policy was open, on a bar of BAR_WIDTH units."""

    x: float
    width: float


def span_bar(guarantee: Guarantee) -> list[BarPart]:
    length = (guarantee.until - guarantee.since).total_seconds() or 1.0
    parts = []
    for span in guarantee.open_spans:
        x = BAR_WIDTH * (span.start - guarantee.since).total_seconds() / length
        end = BAR_WIDTH * ((span.end or guarantee.until) - guarantee.since).total_seconds() / length
        parts.append(BarPart(round(x, 1), round(max(end - x, 2.0), 1)))
    return parts


class EmailLink(NamedTuple):
    entry: Entry
    url: str


def email_links(entries: Sequence[Entry], stage: Stage) -> list[EmailLink]:
    return [
        EmailLink(entry, reverse("email-log-message", args=[stage.key, entry.email]) if entry.email else "") for entry in entries
    ]
