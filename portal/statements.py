"""What readiness asks the database, the middleware that waits for no database that hangs, and Home."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

from common import sql
from common.clock import parse_db_time

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


class Signs(NamedTuple):
    """Whether there is anything to read of what is rare: Home reads each of these in full only if there is.

    `now` is the database's time. A worker and a gateway reported last then. The first credential that an app uses ends then.
    """

    now: datetime
    worker: datetime | None
    gateway: datetime | None
    was_copied: bool
    is_failing: bool
    is_paused: bool
    credential_ends: date | None


def _signs(now: Any, worker: Any, gateway: Any, was_copied: Any, is_failing: Any, is_paused: Any, ends: Any) -> Signs:
    """SQLite returns texts for times and dates, and numbers for truths."""
    return Signs(
        parse_db_time(now),
        parse_db_time(worker) if worker else None,
        parse_db_time(gateway) if gateway else None,
        bool(was_copied),
        bool(is_failing),
        bool(is_paused),
        date.fromisoformat(ends) if isinstance(ends, str) else ends,
    )


SIGNS = sql.query(
    _signs,
    lambda db: (
        f"""
        SELECT {db.now}, (SELECT max(seen) FROM outbox_worker), (SELECT max(seen) FROM outbox_gateway),
               EXISTS (SELECT 1 FROM organization_installation WHERE last_message IS NOT NULL),
               EXISTS (SELECT 1 FROM outbox_stagequeue WHERE failures > 0), EXISTS (SELECT 1 FROM outbox_pause),
               (SELECT min(ends) FROM organization_credential WHERE revoked_at IS NULL AND last_used IS NOT NULL)
    """
    ),
)

# PostgreSQL alone.
IS_READ_ONLY = sql.query(bool, "SELECT current_setting('transaction_read_only')::boolean")
CONNECTIONS_IN_USE = sql.query(
    ConnectionsInUse,
    "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity WHERE backend_type = 'client backend'",
)
