"""Which stages have mail to send now, and how much. Asked for ever, so by key, in one statement and never by counting all."""

from __future__ import annotations

from datetime import datetime

from common import sql
from delivery import statements
from outbox.models import WAITING


def stages_with_due_mail() -> list[int]:
    return sql.fetch(statements.STAGES_WITH_DUE_MESSAGES)


def count_due(stage_id: int, now: datetime, at_most: int) -> int:
    """How many of the stage's mails are due, counted no further than `at_most`."""
    counted = 0
    for status in WAITING:
        counted += len(sql.fetch(statements.DUE_OF_ONE_STATUS, stage_id, status.value, sql.stored(now), at_most))
    return min(counted, at_most)
