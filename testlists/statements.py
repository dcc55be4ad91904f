"""The statements written by hand that name tables of this app, and the locks of test lists."""

from __future__ import annotations

from typing import Any

from django.db import connection

from common import sql
from common.clock import parse_db_time
from testlists.models import TestList

# In the model's own order, which from_db() takes for granted.
_COLUMNS = [field.attname for field in TestList._meta.concrete_fields]
_ACTIVE_UNTIL = _COLUMNS.index("active_until")


def _test_list(*values: Any) -> TestList:
    row = list(values)
    if row[_ACTIVE_UNTIL] is not None:
        row[_ACTIVE_UNTIL] = parse_db_time(row[_ACTIVE_UNTIL])
    return TestList.from_db(connection.alias, _COLUMNS, row)


# Every turn of a worker asks it.
LISTS_OF_APPS = sql.query(
    _test_list, lambda db: f"SELECT {', '.join(_COLUMNS)} FROM testlists_testlist WHERE stage_id = %s AND app_id {db.any_of}"
)

# Advisory locks, for PostgreSQL alone. The lock of one list has two numbers, the one of making lists has one.
LOCK_LIST = sql.statement("SELECT pg_advisory_xact_lock(%s::int, %s::int)")
LOCK_CREATION = sql.statement("SELECT pg_advisory_xact_lock(5321)")


def try_shared_lock_sql(db: sql.Dialect, app_column: str, stage_column: str) -> str:
    """Return a condition for a claim that takes the list's lock, shared with other claims, until the transaction ends.

    The condition is false while a member saves the list or waits to save it. It uses an advisory lock and not the row's
    lock. Advisory locks are given in the order of the requests, so that many workers can't keep an activation waiting. A
    claim skips what is locked instead of waiting for it.
    """
    if db is sql.POSTGRESQL:
        return f"pg_try_advisory_xact_lock_shared({app_column}::int, {stage_column}::int)"
    return "1 = 1"  # on SQLite only one transaction writes at a time
