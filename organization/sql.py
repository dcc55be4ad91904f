"""Statements written by hand, for the few that every mail passes: composing them anew each time took longer than running
them. Everything else uses the ORM. Names of tables and columns are those of each app's models."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

from django.db import connection

# PostgreSQL: disk_full, read_only_sql_transaction.
_OUT_OF_SPACE = ("53100", "25006")
Row = tuple[Any, ...]
# Below what either database takes in one statement, however many values a row has.
_ROWS_PER_STATEMENT = 1000


def fetch(statement: str, *parameters: Any) -> list[Row]:
    """The rows that `statement` returns. A parameter that is a list stands for `(…, …)`, as in `id IN %s`."""
    with connection.cursor() as cursor:
        cursor.execute(*_expanded(statement, parameters))
        return list(cursor.fetchall())


def fetch_each(*asked: tuple[str, *tuple[Any, ...]]) -> list[list[Row]]:
    """As fetch(), for several statements with their parameters; pipelined, they are waited for together."""
    with ExitStack() as stack:
        cursors = [stack.enter_context(connection.cursor()) for _ in asked]
        for cursor, (statement, *parameters) in zip(cursors, asked, strict=True):
            cursor.execute(*_expanded(statement, parameters))
        return [list(cursor.fetchall()) for cursor in cursors]


def run(statement: str, *parameters: Any) -> None:
    """As fetch(), for statements that return nothing."""
    with connection.cursor() as cursor:
        cursor.execute(*_expanded(statement, parameters))


def _expanded(statement: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    marks = tuple(_marks(len(one)) if isinstance(one, list) else "%s" for one in parameters)
    return statement % marks, [value for one in parameters for value in (one if isinstance(one, list) else [one])]


def _marks(count: int) -> str:
    return f"({', '.join(['%s'] * count)})" if count else "(NULL)"  # nothing is equal to NULL


@contextmanager
def pipelined() -> Iterator[None]:
    """Inside a transaction: statements whose rows nobody reads don't wait for their answer. On PostgreSQL every wait costs a
    busy process several times what the statement does. An error shows at the next statement that reads, or at the end.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with connection.wrap_database_errors, connection.connection.pipeline():
        yield


def insert(
    table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, on_conflict: str = "", returning: str = ""
) -> list[Row]:
    """Add `rows`; with `returning`, that column of each, in the order of the rows. `on_conflict` says, in SQL, what becomes
    of a row that is there already."""
    found: list[Row] = []
    head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    tail = (f" ON CONFLICT {on_conflict}" if on_conflict else "") + (f" RETURNING {returning}" if returning else "")
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        part = rows[start : start + _ROWS_PER_STATEMENT]
        values = ", ".join([_marks(len(columns))] * len(part))
        with connection.cursor() as cursor:
            cursor.execute(head + values + tail, [value for row in part for value in row])
            if returning:
                found += cursor.fetchall()
    return found


def is_out_of_space(error: BaseException) -> bool:
    """Whether the database could not write because its disk is full, or can only be read."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)
    return getattr(cause, "sqlstate", None) in _OUT_OF_SPACE


def stored(moment: datetime) -> Any:
    """A time as the database keeps it."""
    return connection.ops.adapt_datetimefield_value(moment)


def locking(tables: str = "", *, skip: bool = False) -> str:
    """What makes a SELECT lock its rows. On SQLite nothing: whoever is in a transaction there is alone."""
    if not connection.features.has_select_for_update:
        return ""
    return f" FOR UPDATE{f' OF {tables}' if tables else ''}{' SKIP LOCKED' if skip else ''}"


def flat(rows: Iterable[Row]) -> list[Any]:
    """The first column."""
    return [row[0] for row in rows]
