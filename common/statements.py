"""Statements that name no table of ours: the database's time, its counters, and what a process tells PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from common import sql


class Now(NamedTuple):
    time: datetime | str


NOW = sql.query(Now, lambda db: f"SELECT {db.now}")
# Options of the connection: a JSON object of names and texts.
SET_OPTIONS = sql.statement("SELECT set_config(name, value, false) FROM json_each_text(%s) AS given (name, value)")
# Without JIT: PostgreSQL up to 17 counts a scan that is forbidden and has no alternative as immensely expensive. It then compiled
# such a statement each time, which took a hundred times as long as the statement itself.
FORBID_TABLE_SCANS = sql.statement("SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)")
# The same for pages, whose larger statements read a few thousand rows.
LIMIT_WAITS = sql.statement(
    "SELECT set_config('statement_timeout', %s, false), set_config('idle_session_timeout', %s, false),"
    " set_config('jit', 'off', false)"
)

# SQLite counts on from these numbers of a table, also when rows were removed.
LAST_NUMBER = "SELECT seq FROM sqlite_sequence WHERE name = %s"
FORGET_LAST_NUMBER = "DELETE FROM sqlite_sequence WHERE name = %s"
KEEP_LAST_NUMBER = "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)"
