"""Statements written by hand, for the few that every mail passes: composing them anew each time took longer than running
them. Everything else uses the ORM. Names of tables and columns are those of each app's models."""

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
# Connection exceptions, insufficient resources, operator intervention; and a lock that wasn't to be had in time.
_POSTGRESQL_AWAY = ("08", "53", "57", "55P03")
_SQLITE_AWAY = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
)
# What a quota says, and what a full disk says to a process that opens the file.
_SQLITE_UNWRITABLE = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
Row = tuple[Any, ...]
sqlite3.register_adapter(list, json.dumps)  # PostgreSQL's rows are JSON as a whole (see insert)
# What is read when it is called.
Answer = Callable[[], list[Row]]


def fetch(statement: str, *parameters: Any) -> list[Row]:
    """The rows that `statement` returns. A parameter that is a list stands for `(…, …)`, as in `id IN %s`."""
    return ask(statement, *parameters)()


def ask(statement: str, *parameters: Any) -> Answer:
    """As fetch(), but the rows are there when the answer is called: of several that are asked in a pipelined transaction,
    the first that is called waits for all."""
    cursor = connection.cursor()
    cursor.execute(*_expanded(statement, parameters))
    if connection.vendor == "postgresql":
        return lambda: list(cursor.fetchall())
    rows = list(cursor.fetchall())  # SQLite would look at what is written meanwhile
    return lambda: rows


def run(statement: str, *parameters: Any) -> None:
    """As fetch(), for statements that return nothing."""
    with connection.cursor() as cursor:
        cursor.execute(*_expanded(statement, parameters))


class Statement(NamedTuple):
    """One that returns nothing, with its parameters (see fetch)."""

    text: str
    parameters: Sequence[Any]


def run_together(one: Statement, other: Statement) -> None:
    """Run two statements of which each changes a table of its own: on PostgreSQL in one flight and at one moment."""
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
    return f"({', '.join(['%s'] * count)})" if count else "(NULL)"  # nothing is equal to NULL


@contextmanager
def pipelined_transaction() -> Iterator[None]:
    """A transaction in which no statement waits for its answer before somebody reads that, the last ones not even for the
    commit: on PostgreSQL every wait costs a busy process several times what the statement does.

    An error shows at the next statement that reads, or at the end; so statements inside must not be expected to fail. A
    row has to be read before the end. Inside another transaction it is a part of that, and every statement waits.
    """
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if connection.vendor != "postgresql" or not outermost:
            yield
            return
        with connection.wrap_database_errors, connection.connection.pipeline():
            yield
            # Together with what was written last. Django's own then finds nothing left to do.
            connection.connection.execute("COMMIT")


class Rows(NamedTuple):
    """What is to be inserted into a table. A list in a row is stored as JSON. `on_conflict` says, in SQL, what becomes of a
    row that is there already. `types`, PostgreSQL's names of them, are needed where a column holds bytes."""

    table: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    on_conflict: str = ""
    types: Sequence[str] = ()


def insert(*parts: Rows) -> None:
    """Add the rows to their tables: on PostgreSQL in one statement, so all of them or none; on SQLite the caller's transaction
    sees to that."""
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
    """All rows are one value, or one a column: a statement with a place for each takes longer to put together than to run."""
    if part.types:
        return f"unnest({', '.join(f'%b::{type_name}[]' for type_name in part.types)})"
    return f"(SELECT {', '.join(part.columns)} FROM json_populate_recordset(NULL::{part.table}, %s)) AS given"


def _values(part: Rows) -> list[Any]:
    if part.types:
        return [list(column) for column in zip(*part.rows, strict=True)]
    return [json.dumps([dict(zip(part.columns, row, strict=True)) for row in part.rows], default=_as_text)]


def _as_text(value: object) -> str:
    """What JSON doesn't know, as PostgreSQL reads it."""
    if isinstance(value, bytes):
        raise TypeError("Rows with bytes need their types.")
    return str(value)


def _insert_one_after_the_other(cursor: Any, parts: Sequence[Rows]) -> None:
    for part in parts:
        statement = f"INSERT INTO {part.table} ({', '.join(part.columns)}) VALUES {_marks(len(part.columns))}"
        cursor.executemany(statement + _tail(part.on_conflict), part.rows)


def _tail(on_conflict: str) -> str:
    return f" ON CONFLICT {on_conflict}" if on_conflict else ""


@contextmanager
def reading_and_inserting() -> Iterator[None]:
    """For reads that one insert() follows: on SQLite a transaction. On PostgreSQL the insert is one by itself, and another
    around both would only wait for its beginning and its end."""
    if connection.vendor == "postgresql":
        yield
        return
    with transaction.atomic():
        yield


def ask_new_numbers(table: str, count: int) -> Callable[[], Sequence[int]]:
    """The numbers of so many rows that are to be inserted into `table`, for nobody else: on SQLite whoever is in a transaction
    is alone."""
    if connection.vendor == "postgresql":
        numbers = ask("SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", table, count)
        return lambda: flat(numbers())
    (last,) = flat(fetch("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = %s", table))
    return lambda: range(last + 1, last + 1 + count)


def update(row: Model, *names: str) -> None:
    """As row.save(update_fields=names), which fails in a pipelined transaction: there nobody knows yet how many rows it
    changed."""
    type(row)._default_manager.filter(pk=row.pk).update(**{name: getattr(row, name) for name in names})


class DatabaseTrouble(NamedTuple):
    """Why the database could not do its work, though nothing is wrong with what it was asked."""

    status: int  # of HTTP
    sentence: str


NO_SPACE = DatabaseTrouble(507, "The database has no space left, or can only be read: nothing was stored.")
AWAY = DatabaseTrouble(503, "The database can't be reached right now.")


def database_trouble(error: BaseException | None) -> DatabaseTrouble | None:
    """What keeps the database from its work; None for every other error."""
    if not isinstance(error, DatabaseError | InterfaceError):
        return None
    if is_out_of_space(error):
        return NO_SPACE
    return AWAY if _is_away(error) else None


def is_out_of_space(error: BaseException) -> bool:
    """Whether the database could not write because its disk is full, or can only be read."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        return code & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY) or code in _SQLITE_UNWRITABLE
    return getattr(cause, "sqlstate", None) in _OUT_OF_SPACE


def _is_away(error: BaseException) -> bool:
    """Whether the database can't be opened, doesn't answer in time, or ended the connection."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY
    state = getattr(cause, "sqlstate", None)
    return isinstance(error, OperationalError | InterfaceError) and (state is None or state.startswith(_POSTGRESQL_AWAY))


def is_locked(error: BaseException) -> bool:
    """Whether SQLite could not write because another process holds its write lock."""
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY


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
