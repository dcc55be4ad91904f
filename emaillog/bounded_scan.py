"""Search the messages of one or several stages by number, a bounded piece at a time (decision 6).

A match may be rare, or there may be none. So no request reads more than `SCAN_LIMIT` messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max, Min, QuerySet

from outbox.models import Message

SCAN_LIMIT = 50_000
# Most pages are full after a few messages. To find the end of a whole piece takes longer than to read such a page.
_FIRST_LOOK = 500
# The time of a message is when the transaction that accepted it began. The message gets its number a little before or after
# that time. No transaction takes as long as this.
_SLACK = timedelta(minutes=5)


@dataclass(frozen=True)
class IdRange:
    """The messages with numbers above `above` and below `below`. None means no limit."""

    above: int | None = None
    below: int | None = None

    def of(self, rows: QuerySet[Message]) -> QuerySet[Message]:
        if self.above is not None:
            rows = rows.filter(pk__gt=self.above)
        return rows if self.below is None else rows.filter(pk__lt=self.below)

    def within(self, other: IdRange) -> IdRange:
        """Return the numbers that both ranges contain."""
        lower = [number for number in (self.above, other.above) if number is not None]
        upper = [number for number in (self.below, other.below) if number is not None]
        return IdRange(max(lower, default=None), min(upper, default=None))


@dataclass(frozen=True)
class ScanStop:
    """Where a scan stopped before it had read all messages: the last number it read, and the time of the next message."""

    number: int
    created: datetime


@dataclass(frozen=True)
class ScanResult:
    """The matching messages, in the order of the scan. `stop` is None if the scan had enough matches or reached the end."""

    messages: list[Message]
    stop: ScanStop | None = None


def scan(
    sources: Sequence[QuerySet[Message]], matching: QuerySet[Message], id_range: IdRange, limit: int, *, upward: bool = False
) -> ScanResult:
    """Return up to `limit` messages of `matching` among the next SCAN_LIMIT of each source.

    The newest come first. Upward, the oldest come first. Several sources are the stages that a member may see: of each a piece
    of its own is read, and the result ends where the first of these pieces ends.
    """
    if len(sources) == 1:
        return _scan_one(sources[0], matching, id_range, limit, upward=upward)
    results = [_scan_one(source, matching & source, id_range, limit, upward=upward) for source in sources]
    stops = [result.stop for result in results if result.stop]
    messages = sorted((row for result in results for row in result.messages), key=lambda row: row.pk, reverse=not upward)
    if not stops:
        return ScanResult(messages[:limit])
    first = (min if upward else max)(stops, key=lambda stop: stop.number)
    read = [row for row in messages if (row.pk <= first.number if upward else row.pk >= first.number)]
    return ScanResult(read[:limit], None if len(read) >= limit else first)


def _scan_one(
    source: QuerySet[Message], matching: QuerySet[Message], id_range: IdRange, limit: int, *, upward: bool
) -> ScanResult:
    if limit < _FIRST_LOOK:
        result = _look(source, matching, id_range, limit, min(_FIRST_LOOK, SCAN_LIMIT), upward=upward)
        if result.stop is None:
            return result
    return _look(source, matching, id_range, limit, SCAN_LIMIT, upward=upward)


def _look(
    source: QuerySet[Message], matching: QuerySet[Message], id_range: IdRange, limit: int, length: int, *, upward: bool
) -> ScanResult:
    """Look at the next `length` messages of the source."""
    order, furthest = _order(source, upward=upward), Max("pk") if upward else Min("pk")
    last = id_range.of(source).order_by(*order)[:length].aggregate(number=furthest)["number"]
    if last is None:
        return ScanResult([])
    piece, beyond = (IdRange(below=last + 1), IdRange(above=last)) if upward else (IdRange(above=last - 1), IdRange(below=last))
    messages = list(piece.within(id_range).of(matching).order_by(*order)[:limit])
    if len(messages) == limit:
        return ScanResult(messages)
    following = beyond.within(id_range).of(source).order_by(*order).values_list("created", flat=True).first()
    return ScanResult(messages, ScanStop(last, following) if following else None)


def _order(source: QuerySet[Message], *, upward: bool) -> list[str]:
    return [str(name).removeprefix("-") if upward else str(name) for name in source.query.order_by]


def walk(
    sources: Sequence[QuerySet[Message]], matching: QuerySet[Message], id_range: IdRange, rows_at_once: int, scans_at_most: int
) -> Iterator[list[Message]]:
    """Yield the matching messages, newest first, some at a time. It ends after so many scans that didn't fill such a piece."""
    scans = 0
    while scans < scans_at_most:
        result = scan(sources, matching, id_range, rows_at_once)
        yield result.messages
        if result.stop is not None:
            scans += 1
            id_range = IdRange(below=result.stop.number).within(id_range)
        elif result.messages:
            id_range = IdRange(below=result.messages[-1].pk).within(id_range)
        else:
            return


def count_in_scans(
    sources: Sequence[QuerySet[Message]], matching: QuerySet[Message], id_range: IdRange, scans_at_most: int
) -> tuple[int, bool]:
    """Count the matching messages among the newest of each source, and tell whether there are others that weren't read."""
    total, more = 0, False
    for source in sources:
        own = matching if len(sources) == 1 else matching & source
        furthest = id_range.of(source).values_list("pk", flat=True)[scans_at_most * SCAN_LIMIT :].first()
        piece = id_range if furthest is None else IdRange(above=furthest).within(id_range)
        total += piece.of(own).order_by().count()
        more = more or furthest is not None
    return total, more


def id_range_of_time(start: datetime | None, end: datetime | None) -> IdRange:
    """Return a range of numbers that contains all messages of that time, and a few more at both ends."""
    above = None if start is None else _first_since(start - _SLACK) - 1
    below = None if end is None else _first_since(end + _SLACK)
    return IdRange(above, below)


def _first_since(moment: datetime) -> int:
    """Return the lowest number from which all messages were accepted at `moment` or later.

    Numbers follow the time, so a binary search is enough.
    """
    rows = Message.objects.order_by("pk").values_list("pk", "created")
    lowest, highest = rows.first(), rows.last()
    if lowest is None or highest is None:
        return 0
    low, high = lowest[0], highest[0] + 1
    while low < high:
        middle = (low + high) // 2
        mail = rows.filter(pk__gte=middle).first()
        if mail is not None and mail[1] < moment:
            low = mail[0] + 1
        else:
            high = middle
    return low
