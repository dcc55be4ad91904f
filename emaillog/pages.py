"""One page of the email log, by numbers, newest first (decision 6)."""

from __future__ import annotations

from dataclasses import dataclass

from emaillog.bounded_scan import Edge, Span, look
from emaillog.filters import MessageFilter
from organization.models import Stage
from outbox.models import Message

PAGE = 50


@dataclass(frozen=True)
class Page:
    """`newer` and `older` are the numbers that the pages beside it start from; None where there is none.

    `stopped` is where the search ended without filling the page: there is more to look through.
    """

    messages: list[Message]
    newer: int | None = None
    older: int | None = None
    stopped: Edge | None = None


def page_of(wanted: MessageFilter, *, before: int | None, after: int | None) -> Page:
    """The mail below the number `before` or above `after`, or without them the newest."""
    return _upward(wanted, after) if after is not None else _downward(wanted, before)


def _downward(wanted: MessageFilter, before: int | None) -> Page:
    stage_mail = Message.objects.filter(stage=wanted.sight.stage)
    seen = look(stage_mail, wanted.qs, Span(below=before).within(wanted.span), PAGE + 1)
    messages = seen.found[:PAGE]
    newer = None if before is None else (messages[0].pk if messages else before - 1)
    if len(seen.found) > PAGE:
        return Page(messages, newer, messages[-1].pk)
    return Page(messages, newer, seen.edge.number if seen.edge else None, seen.edge)


def _upward(wanted: MessageFilter, after: int) -> Page:
    stage_mail = Message.objects.filter(stage=wanted.sight.stage)
    seen = look(stage_mail, wanted.qs, Span(above=after).within(wanted.span), PAGE + 1, upward=True)
    messages = seen.found[:PAGE][::-1]
    older = messages[-1].pk if messages else after + 1
    if len(seen.found) > PAGE:
        return Page(messages, messages[0].pk, older)
    return Page(messages, seen.edge.number if seen.edge else None, older, seen.edge)


def newest_number(stage: Stage) -> int:
    """Of the stage's mail; 0 when there is none."""
    return Message.objects.filter(stage=stage).order_by("-pk").values_list("pk", flat=True).first() or 0


def number_of_newer(wanted: MessageFilter, above: int, limit: int) -> int:
    """How many mails that match, at most `limit`, came in above the number."""
    stage_mail = Message.objects.filter(stage=wanted.sight.stage)
    return len(look(stage_mail, wanted.qs, Span(above=above).within(wanted.span), limit, upward=True).found)
