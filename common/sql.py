"""How statements that are written by hand reach the database. They stand in each app's statements.py.

Only for the few that every message or page passes: composing them again each time took longer than running them. Everything
else uses the ORM.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import starmap
from typing import Any, Generic, NamedTuple, TypeVar

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
Row = TypeVar("Row")
AnyModel = TypeVar("AnyModel", bound=Model)
sqlite3.register_adapter(list, json.dumps)  # PostgreSQL's rows are JSON as a whole (see inserts); SQLite's lists (see any_of)
# What is read when it is called.
LazyRows = Callable[[], list[Row]]


class Dialect(NamedTuple):
    """The pieces of a statement that the two databases say differently."""

    now: str  # the database's time, one value for the whole statement
    seconds_from_now: str  # the time in so many seconds, which are a parameter
    today: str  # its date in UTC
    any_of: str  # is one of a parameter that is a list, as in `id {any_of}`
    string_agg: str  # joins the texts of several rows
    json_array: str  # makes a JSON array of its arguments
    json_agg: str  # makes a JSON array of the values of several rows
    locks_rows: bool
    has_lateral: bool  # whether a subquery in FROM may name the tables before it

    def each_of(self, column_type: str) -> str:
        """A parameter that is a list, as a table with the column `value`."""
        return f"(SELECT unnest(CAST(%s AS {column_type}[])) AS value)" if self.has_lateral else "json_each(%s)"

    def any_of_query(self, query: str) -> str:
        """Is one of what a query without parameters of the outer one returns. PostgreSQL runs it once, and first."""
        return f"= ANY(ARRAY({query}))" if self.locks_rows else f"IN ({query})"

    def for_update(self, table: str = "", *, skip: bool = False) -> str:
        """What makes a SELECT lock its rows. On SQLite nothing: a transaction there is alone."""
        if not self.locks_rows:
            return ""
        return f" FOR UPDATE{f' OF {table}' if table else ''}{' SKIP LOCKED' if skip else ''}"


SQLITE = Dialect(
    now="strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')",
    seconds_from_now="strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')",
    today="date('now')",
    any_of="IN (SELECT value FROM json_each(%s))",
    string_agg="group_concat",
    json_array="json_array",
    json_agg="json_group_array",
    locks_rows=False,
    has_lateral=False,
)
POSTGRESQL = Dialect(
    now="statement_timestamp()",
    seconds_from_now="statement_timestamp() + %s * interval '1 second'",
    today="(statement_timestamp() AT TIME ZONE 'UTC')::date",
    any_of="= ANY(%s)",
    string_agg="string_agg",
    json_array="json_build_array",
    json_agg="json_agg",
    locks_rows=True,
    has_lateral=True,
)
# A statement that both take, or one that is written with a dialect's pieces.
Text = str | Callable[[Dialect], str]


class Statement(NamedTuple):
    """What each of the two databases is told."""

    sqlite: str
    postgresql: str

    @property
    def text(self) -> str:
        return self.postgresql if connection.vendor == "postgresql" else self.sqlite


class Query(NamedTuple, Generic[Row]):
    """A statement that returns rows, and what the values of each become: a NamedTuple of their names, or a plain value."""

    statement: Statement
    row: Callable[..., Row]


class Pair(NamedTuple):
    """Two statements, each of which changes a table of its own.

    On PostgreSQL they are one statement, `together`, so that both happen at the same moment.
    """

    first: Statement
    second: Statement
    together: str


def statement(text: Text) -> Statement:
    return Statement(text, text) if isinstance(text, str) else Statement(text(SQLITE), text(POSTGRESQL))


def query(row: Callable[..., Row], text: Text) -> Query[Row]:
    return Query(statement(text), row)


def pair(first: Statement, second: Statement) -> Pair:
    return Pair(first, second, as_one([first.postgresql, second.postgresql]))


def fetch(query: Query[Row], *parameters: Any) -> list[Row]:
    """The rows that the query returns. Where it says `any_of` its parameter is a list."""
    return query_lazy(query, *parameters)()


def query_lazy(query: Query[Row], *parameters: Any) -> LazyRows[Row]:
    """Like fetch(), but return a function that gives the rows.

    In a pipelined transaction with several queries, the first function that is called waits for all of them.
    """
    cursor = connection.cursor()
    cursor.execute(query.statement.text, parameters)
    if connection.vendor == "postgresql":
        return lambda: list(starmap(query.row, cursor.fetchall()))
    rows = list(starmap(query.row, cursor.fetchall()))  # SQLite would look at what is written meanwhile
    return lambda: rows


def run(statement: Statement, *parameters: Any) -> None:
    """As fetch(), for statements that return nothing."""
    with connection.cursor() as cursor:
        cursor.execute(statement.text, parameters)


def run_pair(changes: Pair, first_parameters: Sequence[Any], second_parameters: Sequence[Any]) -> None:
    """Run both: on PostgreSQL in one flight."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(changes.together, [*first_parameters, *second_parameters])
    else:
        run(changes.first, *first_parameters)
        run(changes.second, *second_parameters)


def as_one(statements: Sequence[str]) -> str:
    """The text of one statement for PostgreSQL, which runs them all."""
    *beside, last = statements
    named = ", ".join(f"part{number} AS ({statement})" for number, statement in enumerate(beside))
    return f"WITH {named} {last}" if named else last


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


def update(row: Model, *names: str) -> None:
    """Save the fields `names` of `row`.

    row.save(update_fields=names) fails in a pipelined transaction, because the number of changed rows isn't known yet.
    """
    type(row)._default_manager.filter(pk=row.pk).update(**{name: getattr(row, name) for name in names})


def partly_read(model: type[AnyModel], **columns: Any) -> AnyModel:
    """A stored row of which a statement returned only these columns. The others are read when they are asked for."""
    names = [field.attname for field in model._meta.concrete_fields if field.attname in columns]
    return model.from_db(connection.alias, names, [columns[name] for name in names])


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


def to_db_time(moment: datetime) -> Any:
    """A time in the form in which the database stores it."""
    return connection.ops.adapt_datetimefield_value(moment)
