"""The time range of a log: a period that ends now, or a custom one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

CUSTOM = "custom"
_PERIODS = {
    "1h": (timedelta(hours=1), "Last hour"),
    "12h": (timedelta(hours=12), "Last 12 hours"),
    "24h": (timedelta(days=1), "Last 24 hours"),
    "7d": (timedelta(days=7), "Last 7 days"),
    "30d": (timedelta(days=30), "Last 30 days"),
}
CHOICES = [*((key, label) for key, (_, label) in _PERIODS.items()), (CUSTOM, "From … to …")]


# Nothing happened outside these, and Python can still represent a time a little earlier or later.
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def period(
    since: str | None, start: datetime | None, end: datetime | None, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """The start and end of the range `since`; None means no limit.

    `start` and `end` are used only for a custom range.
    """
    if since == CUSTOM:
        return _countable(start), _countable(end)
    return (now - _PERIODS[since][0], None) if since in _PERIODS else (None, None)


def _countable(moment: datetime | None) -> datetime | None:
    return None if moment is None else min(max(moment, _EARLIEST), _LATEST)
