"""For processes that run until they are stopped."""

from __future__ import annotations

import gc
import resource
import sys

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# For the database, the log, and Python itself.
_OTHER_FILE_HANDLES = 48


def places_for_connections(handles_each: int = 1) -> int:
    """How many connections the limit of this process's file handles has room for, when each takes so many. At least one."""
    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if handles == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (handles - _OTHER_FILE_HANDLES) // handles_each)


def spare_the_collector() -> None:
    """What is loaded by now stays. Python's garbage collector looks through all of it again and again otherwise, which takes a
    tenth of a busy worker's time."""
    gc.collect()
    gc.freeze()


def go_by_key() -> None:
    """From now on this process's connections never read a whole table where there is an index. PostgreSQL keeps the plan of a
    statement that is asked again and again; one that it made while the outbox was nearly empty reads all of it, and would go on
    doing so when a hundred thousand mails have come, until somebody analyzes the table."""
    connection_created.connect(_forbid_scans)


def _forbid_scans(connection: BaseDatabaseWrapper, **_: object) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
