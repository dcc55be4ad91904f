"""Which stages have messages to send now, and how many.

Workers ask this all the time. So each query uses an index, is one statement, and never counts the whole queue.
"""

from __future__ import annotations

from datetime import datetime

from common import sql
from delivery import statements
from delivery.statements import DueStage
from organization.installation.seal import current_seal
from outbox.models import WAITING


def stages_with_due_mail() -> list[DueStage]:
    return sql.fetch(statements.STAGES_WITH_DUE_MESSAGES, current_seal())


def count_due(stage_id: int, now: datetime, at_most: int) -> int:
    """How many of the stage's messages are due, counted no further than `at_most`."""
    counted = 0
    for status in WAITING:
        counted += len(sql.fetch(statements.DUE_OF_ONE_STATUS, stage_id, status.value, sql.to_db_time(now), at_most))
    return min(counted, at_most)
