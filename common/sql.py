"""Helpers for SQL that is written by hand.

The few statements that run for every message are written by hand, because the ORM took longer to compose them than the database
took to run them. Everything else uses the ORM. The names of tables and columns are those of each app's models.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Model

# PostgreSQL: disk_full, read_only_sql_transaction.
_OUT_OF_SPACE = ("53100", "25006")
# Connection exceptions, insufficient resources, operator intervention, and a lock that wasn't available in time.
_POSTGRESQL_AWAY = ("08", "53", "57", "55P03")
_SQLITE_AWAY = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
)
# The errors of an exceeded quota, and of a full disk for a process that opens the file.
_SQLITE_UNWRITABLE = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
Row = tuple[Any, ...]
sqlite3.register_adapter(list, json.dumps)  # PostgreSQL's rows are JSON as a whole (see insert)
# Call it to read the rows.
Answer = Callable[[], list[Row]]


def fetch(statement: str, *parameters: Any) -> list[Row]:
    """Run `statement` and return its rows.

    A parameter that is a list becomes `(…, …)`, as in `id IN %s`.
    """
    return ask(statement, *parameters)()


def ask(statement: str, *parameters: Any) -> Answer:
    """As fetch(), but return a function that reads the rows.

    In a pipelined transaction, several statements can be sent before the rows of the first are read.
    """
    cursor = connection.cursor()
    cursor.execute(*_expanded(statement, parameters))
    if connection.vendor == "postgresql":
        return lambda: list(cursor.fetchall())
    rows = list(cursor.fetchall())  # read later, SQLite would also return what was written meanwhile
    return lambda: rows


def run(statement: str, *parameters: Any) -> None:
    """Run a statement that returns no rows, with parameters as for fetch()."""
    with connection.cursor() as cursor:
        cursor.execute(*_expanded(statement, parameters))


class Statement(NamedTuple):
    """A statement that returns no rows, with its parameters (see fetch)."""

    text: str
    parameters: Sequence[Any]


def run_together(one: Statement, other: Statement) -> None:
    """Run two statements that change different tables.

    On PostgreSQL they are one statement, which takes one round trip and sees one snapshot.
    """
    if connection.vendor == "postgresql":
        run(_as_one([one.text, other.text]), *one.parameters, *other.parameters)
    else:
        run(one.text, *one.parameters)
        run(other.text, *other.parameters)


def _as_one(statements: Sequence[str]) -> str:
    *beside, last = statements
    named = ", ".join(f"part{number} AS ({statement})" for number, statement in enumerate(beside))
    return f"WITH {named} {last}" if named else last


def _expanded(statement: str, parameters: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    if connection.vendor == "postgresql":
        return statement.replace("IN %s", "= ANY(%s)"), parameters
    marks = tuple(_marks(len(one)) if isinstance(one, list) else "%s" for one in parameters)
    return statement.replace("%%", "%%%%") % marks, [
        value for one in parameters for value in (one if isinstance(one, list) else [one])
    ]


def _marks(count: int) -> str:
    return f"({', '.join(['%s'] * count)})" if count else "(NULL)"  # NULL equals nothing, so that no row matches


@contextmanager
def pipelined_transaction() -> Iterator[None]:
    """A transaction whose statements are sent as a pipeline.

    Results are fetched only when they are read, and the last statements are sent together with COMMIT. On PostgreSQL each round
    trip costs a busy process several times as much as the statement itself.

    An error is raised at the next statement that reads, or at the end, so don't use it for statements that are expected to
    fail. Rows must be read before the end. Inside another transaction it joins that one, and every statement waits for its
    result.
    """
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if connection.vendor != "postgresql" or not outermost:
            yield
            return
        with connection.wrap_database_errors, connection.connection.pipeline():
            yield
            # Sent together with the last statements. Django's own COMMIT then has nothing left to do.
            connection.connection.execute("COMMIT")


class Rows(NamedTuple):
    """Rows to insert into a table.

    A list in a row is stored as JSON. `on_conflict` is the SQL after ON CONFLICT, for rows that exist already. `types` are
    PostgreSQL's type names of the columns; they are needed if a column holds bytes.
    """

    table: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    on_conflict: str = ""
    types: Sequence[str] = ()


def insert(*parts: Rows) -> None:
    """Insert the rows into their tables, all of them or none.

    On PostgreSQL this is one statement. On SQLite the caller must open a transaction.
    """
    if filled := [part for part in parts if part.rows]:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                _insert_at_once(cursor, filled)
            else:
                _insert_one_after_the_other(cursor, filled)


def _insert_at_once(cursor: Any, parts: Sequence[Rows]) -> None:
    statements = [
        f"INSERT INTO {part.table} ({', '.join(part.columns)}) SELECT * FROM {_source(part)}{_tail(part.on_conflict)}"
        for part in parts
    ]
    cursor.execute(_as_one(statements), [value for part in parts for value in _values(part)])


def _source(part: Rows) -> str:
    """The SQL that turns the parameters into rows.

    All rows are one parameter, or one for each column. A statement with a placeholder for each value takes longer to build than
    to run.
    """
    if part.types:
        return f"unnest({', '.join(f'%b::{type_name}[]' for type_name in part.types)})"
    return f"(SELECT {', '.join(part.columns)} FROM json_populate_recordset(NULL::{part.table}, %s)) AS given"


def _values(part: Rows) -> list[Any]:
    if part.types:
        return [list(column) for column in zip(*part.rows, strict=True)]
    return [json.dumps([dict(zip(part.columns, row, strict=True)) for row in part.rows], default=_as_text)]


def _as_text(value: object) -> str:
    """A value that JSON has no type for, as text that PostgreSQL can read."""
    if isinstance(value, bytes):
        raise TypeError("Rows with bytes need `types`.")
    return str(value)


def _insert_one_after_the_other(cursor: Any, parts: Sequence[Rows]) -> None:
    for part in parts:
        statement = f"INSERT INTO {part.table} ({', '.join(part.columns)}) VALUES {_marks(len(part.columns))}"
        cursor.executemany(statement + _tail(part.on_conflict), part.rows)


def _tail(on_conflict: str) -> str:
    return f" ON CONFLICT {on_conflict}" if on_conflict else ""


@contextmanager
def reading_and_inserting() -> Iterator[None]:
    """A transaction for reads that are followed by one insert(), where it is needed.

    SQLite needs one. On PostgreSQL the insert is a single statement, so that a transaction would only add two round trips.
    """
    if connection.vendor == "postgresql":
        yield
        return
    with transaction.atomic():
        yield


def ask_new_numbers(table: str, count: int) -> Callable[[], Sequence[int]]:
    """Reserve ids for `count` new rows of `table`.

    Returns a function that reads them. On SQLite they are reserved because only one transaction can write at a time.
    """
    if connection.vendor == "postgresql":
        numbers = ask("SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", table, count)
        return lambda: flat(numbers())
    (last,) = flat(fetch("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = %s", table))
    return lambda: range(last + 1, last + 1 + count)


def update(row: Model, *names: str) -> None:
    """Save the fields `names` of `row`.

    row.save(update_fields=names) fails in a pipelined transaction, because the number of changed rows isn't known yet.
    """
    type(row)._default_manager.filter(pk=row.pk).update(**{name: getattr(row, name) for name in names})


class DatabaseTrouble(NamedTuple):
    """Why the database failed although the statement is correct."""

    status: int  # HTTP status code
    sentence: str


NO_SPACE = DatabaseTrouble(507, "The database has no space left or is read-only. Nothing was stored.")
AWAY = DatabaseTrouble(503, "The database can't be reached right now.")


def database_trouble(error: BaseException | None) -> DatabaseTrouble | None:
    """The database failure behind `error`, or None if it has another reason."""
    if not isinstance(error, DatabaseError | InterfaceError):
        return None
    if is_out_of_space(error):
        return NO_SPACE
    return AWAY if _is_away(error) else None


def is_out_of_space(error: BaseException) -> bool:
    """Whether the database couldn't write because its disk is full or read-only."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        return code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY) or code in _SQLITE_UNWRITABLE
    return getattr(cause, "sqlstate", None) in _OUT_OF_SPACE


def _is_away(error: BaseException) -> bool:
    """Whether the database can't be reached, was too slow, or closed the connection."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY
    state = getattr(cause, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) and (state is None or state.startswith(_POSTGRESQL_AWAY))


def is_locked(error: BaseException) -> bool:
    """Whether SQLite couldn't write because another process holds its write lock."""
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


def stored(moment: datetime) -> Any:
    """A time in the form in which the database stores it."""
    return connection.ops.adapt_datetimefield_value(moment)


def locking(tables: str = "", *, skip: bool = False) -> str:
    """The SQL that makes a SELECT lock its rows.

    Empty on SQLite, where only one transaction can write at a time.
    """
    if not connection.features.has_select_for_update:
        return ""
    return f" FOR UPDATE{f' OF {tables}' if tables else ''}{' SKIP LOCKED' if skip else ''}"


def flat(rows: Iterable[Row]) -> list[Any]:
    """The first column of the rows."""
    return [row[0] for row in rows]
