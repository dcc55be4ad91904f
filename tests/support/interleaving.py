"""Two people save at the same moment, in an order that the test chooses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


@contextmanager
def right_before(words: str, act: Callable[[], object], *, nth: int = 1) -> Iterator[None]:
    """Run `act` once, right before the nth statement of the block that begins with `words`.

    It runs over the same connection, and so on SQLite too, where another one would wait for the end of the transaction.
    """
    left = nth

    def run(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        nonlocal left
        if left and sql.startswith(words):
            left -= 1
            if left == 0:
                act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(run):
        yield
    assert left == 0, f"there was no statement {words}…"


# In a test's transaction each atomic block begins with a savepoint. The first one of a page is its service's: what the page
# reads before has been read. In Django admin the first one is Django's own.
A_TRANSACTION_BEGINS = "SAVEPOINT"


def wait_until_blocked() -> None:
    """Wait until another transaction waits for an advisory lock. For PostgreSQL."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if cursor.fetchone()[0]:
                return
    raise AssertionError("nobody waits")
