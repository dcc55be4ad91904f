"""The zone is named beside every time, with its offset in the hour that comes twice."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

import pytest
from django.utils import timezone

from common.template_tags import moment


@pytest.mark.parametrize(
    ("hour", "zone"),
    [(0, "2:30:00 CEST (UTC+02:00)</span>"), (1, "2:30:00 CET (UTC+01:00)</span>"), (2, "3:30:00 CET</span></time>")],
)
def test_the_hour_that_comes_twice_has_its_offset(hour: int, zone: str) -> None:
    with timezone.override(zoneinfo.ZoneInfo("Europe/Madrid")):
        shown = moment(datetime(2026, 10, 25, hour, 30, tzinfo=UTC))
    assert zone in shown
