"""For processes that run until they are stopped."""

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

# For the database, the log, and Python itself.
_OTHER_FILE_HANDLES = 48


def places_for_connections(handles_each: int = 1) -> int:
    """How many connections the limit of this process's file handles has room for, when each takes so many. At least one."""
    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if handles == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (handles - _OTHER_FILE_HANDLES) // handles_each)


# Seconds until the first question whether we are still there, between two, and how many; in milliseconds how long an answer
# may wait to be taken, and how long a transaction may stand still.
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
    """A name that no other process of the portal has or had. It begins with the machine's."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"


def spare_the_collector() -> None:
    """What is loaded by now stays. Python's garbage collector looks through all of it again and again otherwise, which takes a
    tenth of a busy worker's time."""
    gc.collect()
    gc.freeze()


def keep_no_statements() -> None:
    """With DEBUG Django keeps the last 9,000 statements of a connection, the emails in them included. A page's are gone with its
    request; those of a process that goes on would stay."""
    connection_created.connect(_keep_none)
    for opened in connections.all(initialized_only=True):
        _keep_none(opened)


def _keep_none(connection: BaseDatabaseWrapper, **_: object) -> None:
    connection.queries_log = deque(maxlen=0)
    connection.make_debug_cursor = connection.make_cursor  # type: ignore[method-assign, assignment]


def leave_no_lock_behind() -> None:
    """PostgreSQL ends what this process has begun when its machine is lost, or when it is stopped inside a transaction: others
    wait for its locks. These are settings of the connection and not of the connecting, which a pooler may refuse."""
    connection_created.connect(_let_the_server_notice)


def _let_the_server_notice(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statements.SET_OPTIONS.postgresql, [_SERVER_SIDE])


def go_by_key() -> None:
    """From now on this process's connections never read a whole table where there is an index. PostgreSQL keeps the plan of a
    statement that is asked again and again; one that it made while the outbox was nearly empty reads all of it, and would go on
    doing so when a hundred thousand mails have come, until somebody analyzes the table."""
    connection_created.connect(_forbid_scans)


def _forbid_scans(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statements.FORBID_TABLE_SCANS.postgresql)


# What PostgreSQL needs to say that it has given a statement up.
_ANSWER_SECONDS = 2
_IDLE_SECONDS = 60


def limit_waits() -> None:
    """From now on no statement of this process waits for PostgreSQL longer than DATABASE_STATEMENT_TIMEOUT, and PostgreSQL ends
    connections that have been idle for a minute. For processes that answer people and apps.

    PostgreSQL keeps to the limit while it runs. A server that is stopped or cut off keeps to nothing, so that the wait ends here
    too.
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
