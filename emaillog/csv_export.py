"""The email log as a CSV file, line by line: however much mail matches, little of it is in memory at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from django.utils import timezone

from common import csv_stream
from emaillog.bounded_scan import AT_ONCE, Look, Span, look
from emaillog.filters import MessageFilter
from outbox.masking import Mask
from outbox.models import Message

ROWS_AT_MOST = 100_000
SEARCHED_AT_MOST = 40 * AT_ONCE
_AT_ONCE = 500
_LEFT_OUT = "Not all mail that matches is in this file: it ends after {:,} mails. Choose a time range to get the others."
_HEADER = (
    "Number", "Time", "Status", "App", "Credential", "Subject", "From", "Requested by the app", "Route", "Routed to", "Size",
    "Message-ID",
)  # fmt: skip


def csv_lines(wanted: MessageFilter, zone: tzinfo) -> Iterator[str]:
    """The file, piece by piece; times in `zone`. A remark in the last line says when mail was left out."""
    return csv_stream.csv_lines(_rows(wanted, zone))


def _rows(wanted: MessageFilter, zone: tzinfo) -> Iterator[Sequence[str]]:
    """Newest first, a few hundred mails at a time."""
    yield _HEADER
    stage_mail = Message.objects.filter(stage=wanted.sight.stage)
    matching = wanted.qs.select_related("app", "credential").prefetch_related("recipients").defer("search_text")
    span, given, searched = wanted.span, 0, 0
    while given < ROWS_AT_MOST and searched < SEARCHED_AT_MOST:
        piece = look(stage_mail, matching, span, min(_AT_ONCE, ROWS_AT_MOST - given))
        for message in piece.found:
            yield _cells(message, wanted.sight.mask(message), zone)
        given += len(piece.found)
        if piece.edge is not None:
            searched += AT_ONCE
            span = Span(below=piece.edge.number).within(span)
        elif piece.found:
            span = Span(below=piece.found[-1].pk).within(span)
        else:
            return
    if look(stage_mail, matching, span, 1) != Look([]):
        yield [_LEFT_OUT.format(given)]


def _cells(message: Message, mask: Mask, zone: tzinfo) -> list[str]:
    return [
        str(message.pk),
        timezone.localtime(message.created, zone).isoformat(sep=" ", timespec="seconds"),
        message.get_status_display(),
        message.app.name,
        message.credential.username if message.credential else "",
        message.subject,
        mask.address(message.from_address),
        "; ".join(mask.address(address) for address in message.requested),
        message.get_route_display(),
        "; ".join(mask.address(recipient.address) for recipient in message.recipients.all()),
        str(message.size),
        message.message_id,
    ]
