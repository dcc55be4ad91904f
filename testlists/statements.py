"""The statements written by hand that name tables of this app, and the locks of test lists."""

from __future__ import annotations

import json

from common import sql
from common.addresses import NamedAddress
from testlists.state import NO_LIST, ListState

# Advisory locks, for PostgreSQL alone. The lock of one list has two numbers, the one of making lists has one.
LOCK_LIST = sql.statement("SELECT pg_advisory_xact_lock(%s::int, %s::int)")
LOCK_CREATION = sql.statement("SELECT pg_advisory_xact_lock(5321)")


def list_columns(db: sql.Dialect) -> str:
    """The columns of list_state(), for a statement that calls the lists' table `list`.

    Those on a list that was never Active don't matter.
    """
    # Joined to a text, SQLite too takes the array for a text.
    people = f"""
        (SELECT CAST({db.json_agg}({db.json_array}(email, name)) AS text) || ''
         FROM (SELECT COALESCE(member.email, entry.email) AS email, COALESCE(member.name, entry.name) AS name
               FROM testlists_testlistaddress entry LEFT JOIN organization_member member ON member.id = entry.member_id
               WHERE entry.test_list_id = list.id AND list.active_version > 0 AND (entry.member_id IS NULL OR member.is_active)
               ORDER BY entry.id) AS person)
    """
    return f"list.id, list.active, list.active AND list.active_until <= {db.now}, list.version, list.active_version, {people}"


def list_state(
    list_id: int | None, active: bool | int, is_expired: bool | int | None, version: int, active_version: int, people: str | None
) -> ListState:
    """What is in force for an app in a stage, from its list_columns()."""
    if list_id is None:
        return NO_LIST
    named = tuple(NamedAddress(*person) for person in json.loads(people or "[]"))
    return ListState(bool(active and not is_expired), named, version, active_version, expired=bool(is_expired))


def try_shared_lock_sql(db: sql.Dialect, app_column: str, stage_column: str) -> str:
    """Return a condition for a claim that takes the list's lock, shared with other claims, until the transaction ends.

    The condition is false while a member saves the list or waits to save it. It uses an advisory lock and not the row's
    lock. Advisory locks are given in the order of the requests, so that many workers can't keep an activation waiting. A
    claim skips what is locked instead of waiting for it.
    """
    if db is sql.POSTGRESQL:
        return f"pg_try_advisory_xact_lock_shared({app_column}::int, {stage_column}::int)"
    return "1 = 1"  # on SQLite only one transaction writes at a time
