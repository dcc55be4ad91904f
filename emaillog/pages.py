"""One page of the email log, by numbers, newest first (decision 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emaillog.bounded_scan import Edge, Span, look
from emaillog.filters import MessageFilter
from organization import keyset
from organization.keyset import ROWS_TO_READ, Page
from organization.models import Stage
from outbox.models import Message


@dataclass(frozen=True)
class LogPage:
    """`stopped` is where the search ended without filling the page: there is more to look through."""

    page: Page[Message]
    stopped: Edge | None = None


def page_of(wanted: MessageFilter, *, before: int | None, after: int | None) -> LogPage:
    """The mail below the number `before` or above `after`, or without them the newest."""
    return _upward(wanted, after) if after is not None else _downward(wanted, before)


def _downward(wanted: MessageFilter, before: int | None) -> LogPage:
    stage_mail = Message.objects.filter(stage=wanted.sight.stage)
    seen = look(stage_mail, wanted.qs, Span(below=before).within(wanted.span), ROWS_TO_READ)
    page = keyset.page_below(seen.found, before)
    return LogPage(replace(page, older=seen.edge.number), seen.edge) if seen.edge else LogPage(page)


def _upward(wanted: MessageFilter, after: int) -> LogPage:
    stage_mail = Message.objects.filter(stage=wanted.sight.stage)
    seen = look(stage_mail, wanted.qs, Span(above=after).within(wanted.span), ROWS_TO_READ, upward=True)
    page = keyset.page_above(seen.found, after)
    return LogPage(replace(page, newer=seen.edge.number), seen.edge) if seen.edge else LogPage(page)


def newest_number(stage: Stage) -> int:
    """Of the stage's mail; 0 when there is none."""
    return Message.objects.filter(stage=stage).order_by("-pk").values_list("pk", flat=True).first() or 0


def number_of_newer(wanted: MessageFilter, above: int, limit: int) -> int:
    """How many mails that match, at most `limit`, came in above the number."""
    stage_mail = Message.objects.filter(stage=wanted.sight.stage)
    return len(look(stage_mail, wanted.qs, Span(above=above).within(wanted.span), limit, upward=True).found)
