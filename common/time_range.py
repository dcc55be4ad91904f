"""The time range of a log: a period that ends now, days of the calendar, or a custom one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

YESTERDAY, LAST_WEEK, SINCE, CUSTOM = "yesterday", "last-week", "since", "custom"
_PERIODS = {
    "1h": (timedelta(hours=1), "Last hour"),
    "12h": (timedelta(hours=12), "Last 12 hours"),
    "24h": (timedelta(days=1), "Last 24 hours"),
    "7d": (timedelta(days=7), "Last 7 days"),
    "30d": (timedelta(days=30), "Last 30 days"),
}
CHOICES = [
    *((key, label) for key, (_, label) in _PERIODS.items()),
    (YESTERDAY, "Yesterday"),
    (LAST_WEEK, "Last week"),
    (SINCE, "Since …"),
    (CUSTOM, "From … to …"),
]


# Nothing happened outside these, and Python can still represent a time a little earlier or later.
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)


def period(
    choice: str | None, start: datetime | None, end: datetime | None, now: datetime, zone: tzinfo = UTC
) -> tuple[datetime | None, datetime | None]:
    """The start and end of the range `choice`; None means no limit.

    `start` and `end` are used only for a custom range, and `start` for one that begins there. Days begin in `zone`.
    """
    if choice == CUSTOM:
        return _countable(start), _countable(end)
    if choice == SINCE:
        return _countable(start), None
    if choice in (YESTERDAY, LAST_WEEK):
        return days(choice, now.astimezone(zone))
    return (now - _PERIODS[choice][0], None) if choice in _PERIODS else (None, None)


def days(choice: str, now: datetime) -> tuple[datetime, datetime]:
    """Yesterday, or the seven days before this week's Monday. A day may have 23 or 25 hours."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    end = today if choice == YESTERDAY else today - timedelta(days=today.weekday())
    start = end - timedelta(days=1 if choice == YESTERDAY else 7)
    return start.astimezone(UTC), end.astimezone(UTC) - _INSTANT


def _countable(moment: datetime | None) -> datetime | None:
    return None if moment is None else min(max(moment, _EARLIEST), _LATEST)
