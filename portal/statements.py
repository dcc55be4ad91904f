"""What readiness asks the database, the middleware that waits for no database that hangs, and the first day on Home."""

from __future__ import annotations

from typing import NamedTuple

from common import sql

ANSWERS = sql.query(int, "SELECT 1")


class ConnectionsInUse(NamedTuple):
    used: int
    limit: int


class Past(NamedTuple):
    """What was done once: an app's email was sent (a test mail proves the stage alone), a connection was tested, and so on."""

    sent: bool = False
    tested: bool = False
    list_was_active: bool = False
    has_credential: bool = False


# It takes the stages twice.
PAST = sql.query(
    lambda *facts: Past(*map(bool, facts)),
    lambda db: (
        f"""
        SELECT EXISTS (SELECT 1 FROM outbox_message WHERE stage_id {db.any_of} AND status = 'sent' AND via <> 'portal'),
               EXISTS (SELECT 1 FROM emailconfig_lasttest WHERE stage_id {db.any_of} AND succeeded),
               EXISTS (SELECT 1 FROM testlists_testlist WHERE active_version > 0),
               EXISTS (SELECT 1 FROM organization_credential)
    """
    ),
)

# PostgreSQL alone.
IS_READ_ONLY = sql.query(bool, "SELECT current_setting('transaction_read_only')::boolean")
CONNECTIONS_IN_USE = sql.query(
    ConnectionsInUse,
    "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity WHERE backend_type = 'client backend'",
)
