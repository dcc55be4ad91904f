"""The email log as a CSV file. It is written line by line, so that few messages are in memory at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from django.utils import timezone

from common import csv_stream
from emaillog.bounded_scan import SCAN_LIMIT, IdRange, ScanResult, scan
from emaillog.filters import MessageFilter
from outbox.access.masking import Mask
from outbox.models import Message

ROWS_AT_MOST = 100_000
SEARCHED_AT_MOST = 40 * SCAN_LIMIT
_ROWS_PER_SCAN = 500
_LEFT_OUT = "Not all matching emails are in this file: it ends after {:,} emails. Choose a time range to get the others."
_HEADER = (
    "Number", "Time", "Status", "App", "Credential", "Subject", "From", "Requested by the app", "Route", "Routed to", "Rules",
    "Size", "Message-ID",
)  # fmt: skip


def csv_lines(log_filter: MessageFilter, zone: tzinfo) -> Iterator[str]:
    """Yield the file piece by piece, with times in `zone`. A remark in the last line says if messages were left out."""
    return csv_stream.csv_lines(_rows(log_filter, zone))


def _rows(log_filter: MessageFilter, zone: tzinfo) -> Iterator[Sequence[str]]:
    """Yield the rows, newest first. A few hundred messages are read at a time."""
    yield _HEADER
    stage_mail = Message.objects.filter(stage=log_filter.access.stage)
    matching = log_filter.qs.select_related("app", "credential").prefetch_related("recipients").defer("search_text")
    id_range, given, searched = log_filter.id_range, 0, 0
    while given < ROWS_AT_MOST and searched < SEARCHED_AT_MOST:
        piece = scan(stage_mail, matching, id_range, min(_ROWS_PER_SCAN, ROWS_AT_MOST - given))
        for message in piece.messages:
            yield _cells(message, log_filter.access.mask(message), zone)
        given += len(piece.messages)
        if piece.stop is not None:
            searched += SCAN_LIMIT
            id_range = IdRange(below=piece.stop.number).within(id_range)
        elif piece.messages:
            id_range = IdRange(below=piece.messages[-1].pk).within(id_range)
        else:
            return
    if scan(stage_mail, matching, id_range, 1) != ScanResult([]):
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
        "; ".join(recipient.get_rule_display() for recipient in message.recipients.all()),
        str(message.size),
        message.message_id,
    ]
