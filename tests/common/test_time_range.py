"""Time ranges: days of the calendar in a zone whose days aren't all alike."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from common.time_range import period

LISBON = ZoneInfo("Europe/Lisbon")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("choice", "now", "start", "end"),
    [
        ("yesterday", "2026-07-02T10:00", "2026-06-30T23:00", "2026-07-01T23:00"),
        ("yesterday", "2026-03-30T10:00", "2026-03-29T00:00", "2026-03-29T23:00"),  # 23 hours long
        ("yesterday", "2026-10-26T10:00", "2026-10-24T23:00", "2026-10-26T00:00"),  # 25 hours
        ("last-week", "2026-07-02T10:00", "2026-06-21T23:00", "2026-06-28T23:00"),
        ("last-week", "2026-06-29T00:30", "2026-06-21T23:00", "2026-06-28T23:00"),  # a Monday
    ],
)
def test_days_begin_at_midnight_of_the_zone(choice, now, start, end):
    first, last = period(choice, None, None, at(now), LISBON)
    assert first == at(start)
    assert 0 < (at(end) - last).total_seconds() < 0.001


def test_since_has_a_start_alone():
    start = at("2026-07-01T00:00")
    assert period("since", start, at("2026-07-02T00:00"), at("2026-08-01T00:00")) == (start, None)
