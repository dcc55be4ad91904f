"""How many emails failed lately, as the email log shows them. They are counted no further than a page needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone

from common import sql, time_range
from organization.models import Stage
from outbox import statements
from outbox.access.visibility import LogAccess
from outbox.counts.backlog import COUNTED_AT_MOST, Depth
from outbox.models import Status

# A failed email is never due before it is accepted, but for the clocks of two statements.
_SLACK = timedelta(minutes=1)


class FailedEmails(NamedTuple):
    """How many emails failed: of each stage in the last 24 hours, and of all stages yesterday."""

    last_day: Mapping[int, Depth]
    yesterday: Depth


def count_failed(places: Mapping[Stage, LogAccess], now: datetime) -> FailedEmails:
    """Count what the member may see. Yesterday is the day in the member's zone."""
    if not places:
        return FailedEmails({}, Depth())
    last_day, yesterday = now - timedelta(hours=24), time_range.days(time_range.YESTERDAY, timezone.localtime(now))
    whole = [stage.pk for stage, access in places.items() if access.every_app]
    by_stage = {stage.pk: access for stage, access in places.items()}
    newest, oldest = (
        (list(by_stage), [Status.FAILED.value], sql.to_db_time(since - _SLACK)) for since in (last_day, yesterday[0])
    )
    times = [sql.to_db_time(time) for time in (last_day, *yesterday)]
    rows = sql.fetch(statements.failed_messages(COUNTED_AT_MOST + 1), whole, *times, *newest, *oldest)
    read, counted = Counter[tuple[bool, int]](), Counter[tuple[bool, int]]()
    for row in rows:
        place = bool(row.is_new), row.stage_id
        read[place] += row.read
        if row.app_id == 0 or by_stage[row.stage_id].sees(row.app_id):
            counted[place] += row.counted

    def depth(stage: int, *, is_new: bool) -> Depth:
        place = is_new, stage
        return Depth.bounded(counted[place], read[place], COUNTED_AT_MOST)

    yesterdays = (depth(stage, is_new=False) for stage in by_stage)
    return FailedEmails({stage: depth(stage, is_new=True) for stage in by_stage}, sum(yesterdays, Depth()))
