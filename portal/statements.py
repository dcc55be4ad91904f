"""What readiness asks the database, and the middleware that waits for no database that hangs. No table is named."""

from __future__ import annotations

from typing import NamedTuple

from common import sql

ANSWERS = sql.query(int, "SELECT 1")


class ConnectionsInUse(NamedTuple):
    used: int
    limit: int


# PostgreSQL alone.
IS_READ_ONLY = sql.query(bool, "SELECT current_setting('transaction_read_only')::boolean")
CONNECTIONS_IN_USE = sql.query(
    ConnectionsInUse,
    "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity WHERE backend_type = 'client backend'",
)
