"""Set up long-running processes: gateway, worker and web server."""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import sys
import uuid
from collections import deque
from functools import partial
from typing import Any

import psycopg
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from common import statements

# File handles for the database, the log, and Python itself.
_OTHER_FILE_HANDLES = 48


def places_for_connections(handles_each: int = 1) -> int:
    """How many connections this process's limit on file handles allows; at least one."""
    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if handles == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (handles - _OTHER_FILE_HANDLES) // handles_each)


# For PostgreSQL. Keepalives: seconds until the first, seconds between two, and how many may fail. In milliseconds: how long
# sent data may stay unacknowledged, and how long a transaction may be idle.
_SERVER_SIDE = json.dumps(
    {
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "30000",
        "idle_in_transaction_session_timeout": "60000",
    }
)


def new_name() -> str:
    """A name for this process that no other process of the portal has or had.

    It begins with the machine's name.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def freeze_gc() -> None:
    """Keep the garbage collector from checking what is loaded so far.

    Modules and settings stay until the process ends. Checking them again and again takes a tenth of a busy worker's time.
    """
    gc.collect()
    gc.freeze()


def keep_no_statements() -> None:
    """Keep Django from recording SQL statements in DEBUG.

    Django keeps the last 9,000 statements of a connection, with the emails in them. It drops them after each request, but a
    process that serves no requests would keep them.
    """
    connection_created.connect(_keep_none)
    for opened in connections.all(initialized_only=True):
        _keep_none(opened)


def _keep_none(connection: BaseDatabaseWrapper, **_: object) -> None:
    connection.queries_log = deque(maxlen=0)
    connection.make_debug_cursor = connection.make_cursor  # type: ignore[method-assign, assignment]


def leave_no_lock_behind() -> None:
    """Let PostgreSQL end this process's transactions if it no longer responds.

    The machine may be lost, or the process stopped inside a transaction, while others wait for its locks. The settings are made
    after connecting, because a pooler may refuse them as connection parameters.
    """
    connection_created.connect(_let_the_server_notice)


def _let_the_server_notice(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statements.SET_OPTIONS.postgresql, [_SERVER_SIDE])


def disable_seqscan() -> None:
    """Make this process's connections use an index wherever there is one.

    PostgreSQL keeps the plan of a repeated statement. A plan that was made while the outbox was nearly empty reads the whole
    table. Without this setting, PostgreSQL would use that plan for a hundred thousand messages, until the table is analyzed.
    Statements are not compiled (JIT), because none of them runs long enough for that.
    """
    connection_created.connect(_forbid_scans)


def _forbid_scans(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statements.FORBID_TABLE_SCANS.postgresql)


# The time that PostgreSQL needs to report that it has cancelled a statement.
_ANSWER_SECONDS = 2
_IDLE_SECONDS = 60


def limit_waits() -> None:
    """Limit how long this process waits for PostgreSQL.

    A statement may take at most DATABASE_STATEMENT_TIMEOUT seconds, and PostgreSQL closes connections that have been idle for a
    minute. It compiles no statements (JIT). This is for processes that answer people and apps.

    PostgreSQL enforces the limit while it runs. A server that is stopped or cut off can't, so this process also ends the wait.
    """
    connection_created.connect(_limit_waits)


def _limit_waits(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor != "postgresql":
        return
    seconds = settings.DATABASE_STATEMENT_TIMEOUT
    if seconds:
        driver = connection.connection
        driver.wait = partial(_wait, driver, driver.wait, seconds + _ANSWER_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(statements.LIMIT_WAITS.postgresql, [f"{seconds}s", f"{_IDLE_SECONDS}s"])


def _wait(driver: psycopg.Connection[Any], wait: Any, seconds: float, *arguments: Any, **options: Any) -> Any:
    try:
        return wait(*arguments, **{"timeout": seconds, **options})
    except psycopg.OperationalError:
        if driver.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            driver.close()  # no answer: a rollback would wait for the same server again
        raise
