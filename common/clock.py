"""The two clocks: the database's, which all workers share, and this machine's.

The machine's clock also counts the time during which a process was stopped.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from common import sql, statements


def database_now() -> datetime:
    """The time in the database, with time zone UTC. Two machines whose own clocks differ agree on it."""
    (now,) = sql.fetch(statements.NOW)
    return as_moment(now.time)


def as_moment(value: datetime | str) -> datetime:
    """The time that a hand-written statement returned, with its time zone.

    SQLite returns a text or a time without a zone. Both are in UTC.
    """
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def uptime() -> float:
    """Seconds since this machine was started.

    This clock can't be set, and it continues while the machine or the process is stopped.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
