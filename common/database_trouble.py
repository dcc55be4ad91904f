"""Report a database that can't be used, in the log and for /readyz."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import structlog
from django.db import Error, connection

from common.sql import is_locked

log = structlog.get_logger(__name__)

WRITE_LOCK_HELD = (
    "Another process holds the write lock of the SQLite database. Look for a process that was stopped in the middle of a "
    "transaction, and for a shell or a backup that has the file open."
)
# Longer than any transaction of the portal takes.
_PATIENCE_SECONDS = 1.5


def log_failure(event: str, error: BaseException, **context: object) -> None:
    """Log one line for a database error.

    Any other error is a bug in the portal, so that its line has a traceback.
    """
    if not isinstance(error, Error):
        log.error(event, exc_info=error, **context)
        return
    if is_locked(error):
        context["cause"] = WRITE_LOCK_HELD
    log.error(event, error=f"{type(error).__name__}: {' '.join(str(error).split())}", **context)


def write_lock_is_held(seconds: float = _PATIENCE_SECONDS) -> bool:
    """Whether another process holds SQLite's write lock for at least `seconds`.

    Nothing can be stored meanwhile. PostgreSQL has no lock of this kind.
    """
    if connection.vendor != "sqlite":
        return False
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=seconds, isolation_level=None)) as probe:
        try:
            probe.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        probe.execute("ROLLBACK")
    return False
