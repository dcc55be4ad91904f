"""The one clock that all workers share, the database's; and the one that tells a process how long it was stopped."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from common import sql, statements


def database_now() -> datetime:
    """The time in the database, with time zone UTC. Two machines whose own clocks differ agree on it."""
    (now,) = sql.fetch(statements.NOW)
    return as_moment(now.time)


def as_moment(value: datetime | str) -> datetime:
    """A time as a statement written by hand returns it: on SQLite a text or a time without zone, and in UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def uptime() -> float:
    """Seconds by this machine's clock, which nobody sets and which goes on while the machine or the process is stopped."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
