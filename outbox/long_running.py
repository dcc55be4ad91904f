"""For processes that run until they are stopped."""

from __future__ import annotations

import gc

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


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
