"""The email log as a CSV file, without the portal's own emails.

It is written line by line, so that few messages are in memory at the same time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import tzinfo

from django.utils import timezone

from common import csv_stream
from emaillog.bounded_scan import SCAN_LIMIT, IdRange, ScanResult, scan, walk
from emaillog.filters import MessageFilter
from emaillog.reasons import Reason, reasons_of
from outbox.access.masking import Mask
from outbox.models import Message, Recipient, Source

ROWS_AT_MOST = 100_000
SEARCHED_AT_MOST = 40 * SCAN_LIMIT
_ROWS_PER_SCAN = 200
_LEFT_OUT = "Not all matching emails are in this file: it ends after {:,} emails. Choose a time range to get the others."
_HEADER = (
    "Number", "Time", "Status", "Reason", "Server's words", "Stage", "App", "Credential", "Subject", "From",
    "Requested by the app", "Route", "Routed to", "Recipient statuses", "Rules", "Size", "Message-ID",
)  # fmt: skip


def csv_lines(log_filter: MessageFilter, zone: tzinfo) -> Iterator[str]:
    """Yield the file piece by piece, with times in `zone`. A remark in the last line says if messages were left out."""
    return csv_stream.csv_lines(_rows(log_filter, zone))


def _rows(log_filter: MessageFilter, zone: tzinfo) -> Iterator[Sequence[str]]:
    """Yield the rows, newest first. A few hundred messages are read at a time."""
    yield _HEADER
    access, id_range, given = log_filter.access, log_filter.id_range, 0
    matching = log_filter.rows.exclude(via=Source.OWN).select_related("app", "stage", "credential")
    for messages in walk(access.sources(), matching, id_range, _ROWS_PER_SCAN, SEARCHED_AT_MOST // SCAN_LIMIT):
        reasons, recipients = reasons_of(messages), _recipients_of(messages)
        for message in messages[: ROWS_AT_MOST - given]:
            of_message = recipients[message.pk]
            mask = access.mask(message, [recipient.address for recipient in of_message])
            yield _cells(message, of_message, mask, reasons.get(message.pk, Reason()), zone)
            id_range = IdRange(below=message.pk).within(log_filter.id_range)
        given += len(messages)
        if given >= ROWS_AT_MOST:
            break
    if scan(access.sources(), matching, id_range, 1) != ScanResult([]):
        yield [_LEFT_OUT.format(min(given, ROWS_AT_MOST))]


def _recipients_of(messages: Sequence[Message]) -> defaultdict[int, list[Recipient]]:
    """By the number of the message. A prefetch would leave cycles of messages and recipients to the garbage collector."""
    recipients: defaultdict[int, list[Recipient]] = defaultdict(list)
    for recipient in Recipient.objects.filter(message__in=[message.pk for message in messages]):
        recipients[recipient.message_id].append(recipient)
    return recipients


def _cells(message: Message, recipients: Sequence[Recipient], mask: Mask, reason: Reason, zone: tzinfo) -> list[str]:
    return [
        str(message.pk),
        timezone.localtime(message.created, zone).isoformat(sep=" ", timespec="seconds"),
        message.get_status_display(),
        mask.text(reason.text),
        mask.text(reason.words),
        message.stage.name,
        message.app.name,
        message.credential.username if message.credential else "",
        message.subject,
        mask.address(message.from_address),
        "; ".join(mask.address(address) for address in message.requested),
        message.get_route_display(),
        "; ".join(mask.address(recipient.address) for recipient in recipients),
        "; ".join(recipient.get_status_display() for recipient in recipients),
        "; ".join(recipient.get_rule_display() for recipient in recipients),
        str(message.size),
        message.message_id,
    ]
