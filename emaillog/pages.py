"""One page of the email log, by numbers, newest first (decision 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emaillog.bounded_scan import IdRange, ScanStop, scan
from emaillog.filters import MessageFilter
from organization import keyset
from organization.keyset import ROWS_TO_READ, Page
from organization.models import Stage
from outbox.models import Message


@dataclass(frozen=True)
class LogPage:
    """One page of messages. `stopped` is set if the search ended before the page was full and more messages are left."""

    page: Page[Message]
    stopped: ScanStop | None = None


def page_of(log_filter: MessageFilter, *, before: int | None, after: int | None) -> LogPage:
    """Return the messages below the number `before` or above `after`. Without both, return the newest."""
    return _upward(log_filter, after) if after is not None else _downward(log_filter, before)


def _downward(log_filter: MessageFilter, before: int | None) -> LogPage:
    stage_mail = Message.objects.filter(stage=log_filter.access.stage)
    result = scan(stage_mail, log_filter.qs, IdRange(below=before).within(log_filter.id_range), ROWS_TO_READ)
    page = keyset.page_below(result.messages, before)
    return LogPage(replace(page, older=result.stop.number), result.stop) if result.stop else LogPage(page)


def _upward(log_filter: MessageFilter, after: int) -> LogPage:
    stage_mail = Message.objects.filter(stage=log_filter.access.stage)
    result = scan(stage_mail, log_filter.qs, IdRange(above=after).within(log_filter.id_range), ROWS_TO_READ, upward=True)
    page = keyset.page_above(result.messages, after)
    return LogPage(replace(page, newer=result.stop.number), result.stop) if result.stop else LogPage(page)


def newest_number(stage: Stage) -> int:
    """Return the number of the stage's newest message, or 0 if it has none."""
    return Message.objects.filter(stage=stage).order_by("-pk").values_list("pk", flat=True).first() or 0


def number_of_newer(log_filter: MessageFilter, above: int, limit: int) -> int:
    """Count the matching messages above the number, up to `limit`."""
    stage_mail = Message.objects.filter(stage=log_filter.access.stage)
    return len(scan(stage_mail, log_filter.qs, IdRange(above=above).within(log_filter.id_range), limit, upward=True).messages)
