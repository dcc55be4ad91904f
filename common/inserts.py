"""Insert rows with statements that are written by hand: as one statement on PostgreSQL, in one transaction on SQLite."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from django.db import connection, transaction

from common.sql import Statement, as_one

_INDENTATION = re.compile(r"\n\s+")


class Rows(NamedTuple):
    """Rows to insert into a table.

    A list in a row is stored as JSON. `on_conflict` is the SQL after ON CONFLICT, for rows that exist already. `types` are
    PostgreSQL's type names of the columns. They are needed if a column holds bytes, and let a single row be passed faster.
    """

    table: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    on_conflict: str = ""
    types: Sequence[str] = ()


class Snapshot(NamedTuple):
    """What rows that are about to be written rely on.

    `text` is the SQL of a text, and refers to the columns of `known`. The last column of `known` is that text as it was read.
    """

    text: Statement
    known: Rows


def insert(*parts: Rows) -> None:
    """Insert the rows into their tables, all of them or none. On SQLite the caller must open a transaction."""
    if filled := [part for part in parts if part.rows]:
        if connection.vendor == "postgresql":
            statement = as_one([_insertion(part, _selection(_shape(part))) for part in filled])
            with connection.cursor() as cursor:
                cursor.execute(statement, [value for part in filled for value in _values(part)])
        else:
            connection.validate_no_broken_transaction()
            with connection.wrap_database_errors:
                _insert_one_after_the_other(connection.connection, filled)


def insert_unless_changed(snapshot: Snapshot, numbered: str, count: int, *parts: Rows) -> Sequence[int] | None:
    """Insert rows, all of them or none, and return the `count` new ids of the table `numbered`.

    Each row begins with a number from 1 to `count`, which the new id replaces. If the snapshot isn't any more what was read,
    nothing is inserted, and the result is None.
    """
    filled = [part for part in parts if part.rows]
    if connection.vendor == "postgresql":
        return _insert_in_one_statement(snapshot, numbered, count, filled)
    with _sqlite_transaction() as database:
        return _insert_in_transaction(database, snapshot, numbered, count, filled)


def _insert_in_one_statement(snapshot: Snapshot, numbered: str, count: int, parts: Sequence[Rows]) -> Sequence[int] | None:
    known, *shapes = (_shape(part) for part in (snapshot.known, *parts))
    statement = _numbered_statement(snapshot.text, known, numbered, tuple(shapes))
    values = [value for part in (snapshot.known, *parts) for value in _values(part)]
    with connection.cursor() as cursor:
        cursor.execute(statement, [count, *values])
        return [number for (number,) in cursor.fetchall()] or None


@contextmanager
def _sqlite_transaction() -> Iterator[sqlite3.Connection]:
    """A transaction on the driver's connection. With Django's own, a statement would take longer in Python than in SQLite.

    Inside another transaction it is a part of that one.
    """
    if connection.in_atomic_block:
        connection.validate_no_broken_transaction()  # as Django's own cursor does: what is written would be rolled back
        with transaction.atomic(), connection.wrap_database_errors:
            yield connection.connection
        return
    connection.ensure_connection()
    database: sqlite3.Connection = connection.connection
    with connection.wrap_database_errors:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        finally:
            if database.in_transaction:
                database.execute("ROLLBACK")


def _insert_in_transaction(
    database: sqlite3.Connection, snapshot: Snapshot, numbered: str, count: int, parts: Sequence[Rows]
) -> Sequence[int] | None:
    """As only one transaction writes at a time, the next ids are known before they are used."""
    last = 0
    read = _snapshot_and_last_id(snapshot.text, snapshot.known.columns)
    for *key, known in snapshot.known.rows:
        text, last = database.execute(read, [numbered, *key]).fetchone()
        if text != known:
            return None
    rows = [part._replace(rows=[(last + number, *values) for number, *values in part.rows]) for part in parts]
    _insert_one_after_the_other(database, rows)
    return range(last + 1, last + 1 + count)


@cache
def _snapshot_and_last_id(text: Statement, columns: Sequence[str]) -> str:
    key = ", ".join(f"? AS {column}" for column in columns[:-1])
    last_id = "(SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = ?)"
    snapshot = text.sqlite.replace("%%", "%")
    return _INDENTATION.sub(" ", f"SELECT {snapshot}, last_id FROM (SELECT {last_id} AS last_id, {key}) AS known")


def _insert_one_after_the_other(database: sqlite3.Connection, parts: Sequence[Rows]) -> None:
    for part in parts:
        database.executemany(_insertion(part, f"VALUES ({', '.join('?' * len(part.columns))})"), part.rows)


def _insertion(part: Rows, source: str) -> str:
    tail = f" ON CONFLICT {part.on_conflict}" if part.on_conflict else ""
    return f"INSERT INTO {part.table} ({', '.join(part.columns)}) {source}{tail}"


# PostgreSQL


class _Shape(NamedTuple):
    """What the text of a statement depends on. A text that was used before has a plan already."""

    part: Rows  # without its rows
    is_plain: bool  # a single row, with a parameter for each value

    @property
    def has_bytes(self) -> bool:
        return "bytea" in self.part.types


def _shape(part: Rows) -> _Shape:
    return _Shape(part._replace(rows=()), len(part.rows) == 1 and bool(part.types))


@cache
def _numbered_statement(text: Statement, known: _Shape, numbered: str, parts: Sequence[_Shape]) -> str:
    """A statement that reads the snapshot, takes new ids, and inserts. Its result is the ids."""
    read = known.part.columns[-1]
    ids = f"""
        SELECT array_agg(nextval(pg_get_serial_sequence('{numbered}', 'id'))) AS ids FROM generate_series(1, %s)
        WHERE NOT EXISTS (SELECT 1 FROM {_source(known, "known")} WHERE {text.postgresql} IS DISTINCT FROM known.{read})
    """
    insertions = [f"part{number} AS ({_insertion(shape.part, _numbered(shape))})" for number, shape in enumerate(parts)]
    statement = f"WITH new AS ({ids}), {', '.join(insertions)} SELECT unnest(ids) FROM new"
    return _INDENTATION.sub(" ", statement)  # the driver caches what it makes of a text of up to 4,096 characters


def _numbered(shape: _Shape) -> str:
    number, *others = shape.part.columns
    return f"SELECT ids[{number}::int], {', '.join(others)} FROM new, {_source(shape, 'given')} WHERE ids IS NOT NULL"


def _selection(shape: _Shape) -> str:
    return f"SELECT {', '.join(shape.part.columns)} FROM {_source(shape, 'given')}"


def _source(shape: _Shape, alias: str) -> str:
    """The SQL that turns the parameters into rows.

    Several rows are one parameter, or one for each column. A statement with a placeholder for each value takes longer to build
    than to run.
    """
    part = shape.part
    if not part.types:
        return f"json_populate_recordset(NULL::{part.table}, %s) AS {alias}"
    if shape.is_plain:
        values = (f"{_mark(name)}::{name} AS {column}" for column, name in zip(part.columns, part.types, strict=True))
        return f"(SELECT {', '.join(values)}) AS {alias}"
    if shape.has_bytes:
        arrays = (f"{_mark(name)}::{name}[]" for name in part.types)
        return f"unnest({', '.join(arrays)}) AS {alias}({', '.join(part.columns)})"
    typed = (f"{column} {name}" for column, name in zip(part.columns, part.types, strict=True))
    return f"json_to_recordset(%s) AS {alias}({', '.join(typed)})"


def _mark(type_name: str) -> str:
    return "%b" if type_name == "bytea" else "%s"


def _values(part: Rows) -> list[Any]:
    shape = _shape(part)
    if shape.is_plain:
        return [_plain(value) for value in part.rows[0]]
    if shape.has_bytes:
        return [list(column) for column in zip(*part.rows, strict=True)]
    return [json_rows(part)]


def json_rows(part: Rows) -> str:
    """The rows as PostgreSQL's json_populate_recordset() takes them."""
    return json.dumps([dict(zip(part.columns, row, strict=True)) for row in part.rows], default=_as_text)


def _plain(value: Any) -> Any:
    """The value as a parameter. A number goes as text, since the driver would prepare a statement for each size of numbers."""
    if isinstance(value, list):
        return json.dumps(value)
    return str(value) if type(value) is int else value


def _as_text(value: object) -> str:
    """A value that JSON has no type for, as text that PostgreSQL can read."""
    if isinstance(value, bytes):
        raise TypeError("Rows with bytes need `types`.")
    return str(value)
