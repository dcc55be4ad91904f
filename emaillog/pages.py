"""One page of the email log, by numbers, newest first (decision 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emaillog.bounded_scan import IdRange, ScanStop, count_in_scans, scan
from emaillog.filters import MessageFilter
from organization import keyset
from organization.keyset import ROWS_TO_READ, Page
from organization.models import Stage
from outbox.models import Message

# To count takes no longer than a page that nobody waits for.
_COUNTED_SCANS = 10


@dataclass(frozen=True)
class LogPage:
    """One page of messages. `stopped` is set if the search ended before the page was full and more messages are left."""

    page: Page[Message]
    stopped: ScanStop | None = None


def page_of(log_filter: MessageFilter, *, before: int | None, after: int | None) -> LogPage:
    """Return the messages below the number `before` or above `after`. Without both, return the newest.

    A filter that makes no sense matches nothing.
    """
    if log_filter.errors:
        return LogPage(Page([]))
    return _upward(log_filter, after) if after is not None else _downward(log_filter, before)


def _downward(log_filter: MessageFilter, before: int | None) -> LogPage:
    id_range = IdRange(below=before).within(log_filter.id_range)
    result = scan(log_filter.access.sources(), log_filter.rows, id_range, ROWS_TO_READ)
    page = keyset.page_below(result.messages, before)
    return LogPage(replace(page, older=result.stop.number), result.stop) if result.stop else LogPage(page)


def _upward(log_filter: MessageFilter, after: int) -> LogPage:
    id_range = IdRange(above=after).within(log_filter.id_range)
    result = scan(log_filter.access.sources(), log_filter.rows, id_range, ROWS_TO_READ, upward=True)
    page = keyset.page_above(result.messages, after)
    return LogPage(replace(page, newer=result.stop.number), result.stop) if result.stop else LogPage(page)


def newest_number(stage: Stage | None = None) -> int:
    """Return the number of the stage's newest message, or of the newest of all. 0 if there is none."""
    messages = Message.objects.all() if stage is None else Message.objects.filter(stage=stage)
    return messages.order_by("-pk").values_list("pk", flat=True).first() or 0


def number_of_newer(log_filter: MessageFilter, above: int, limit: int) -> int:
    """Count the matching messages above the number, up to `limit`."""
    if log_filter.errors:
        return 0
    id_range = IdRange(above=above).within(log_filter.id_range)
    return len(scan(log_filter.access.sources(), log_filter.rows, id_range, limit, upward=True).messages)


def count_matching(log_filter: MessageFilter) -> tuple[int, bool]:
    """Count the matching messages, in a bounded number of scans. Tells whether there may be more."""
    if log_filter.errors:
        return 0, False
    return count_in_scans(log_filter.access.sources(), log_filter.rows, log_filter.id_range, _COUNTED_SCANS)
