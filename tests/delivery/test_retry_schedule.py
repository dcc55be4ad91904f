"""The pauses between the tries of one message."""

from __future__ import annotations

from datetime import timedelta

from delivery.retry_schedule import PAUSES, next_pause


def test_pauses_grow_to_an_hour_and_end_after_two_days():
    assert [pause.total_seconds() / 60 for pause in PAUSES[:7]] == [1, 2, 5, 15, 30, 60, 60]
    assert 46 <= sum(PAUSES, timedelta()).total_seconds() / 3600 <= 49
    assert next_pause(len(PAUSES)) is not None
    assert next_pause(len(PAUSES) + 1) is None
