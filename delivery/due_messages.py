"""Which stages have mail to send now, and how much. Asked for ever, so by key, in one statement and never by counting all."""

from __future__ import annotations

from datetime import datetime

from common import sql
from common.clock import now_in_sql
from outbox.models import WAITING

# Not EXISTS: without statistics PostgreSQL reads the whole queue for that.
_FIRST_DUE = ", ".join(
    f"(SELECT 1 FROM outbox_message WHERE stage_id = stage.id AND status = '{status.value}' AND due <= {{now}} LIMIT 1)"
    for status in WAITING
)


def stages_with_due_mail() -> list[int]:
    first_due = _FIRST_DUE.format(now=now_in_sql())
    return sql.flat(sql.fetch(f"SELECT id FROM organization_stage stage WHERE COALESCE({first_due}) = 1"))


def count_due(stage_id: int, now: datetime, at_most: int) -> int:
    """How many of the stage's mails are due, counted no further than `at_most`."""
    counted = 0
    for status in WAITING:
        statement = "SELECT 1 FROM outbox_message WHERE stage_id = %s AND status = %s AND due <= %s LIMIT %s"
        counted += len(sql.fetch(statement, stage_id, status.value, sql.stored(now), at_most))
    return min(counted, at_most)
