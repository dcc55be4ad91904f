"""SQL written by hand is found in one place per app: its statements.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.portal import ROOMS, ROOT

# The mechanics, which name no table; and the one that puts its statements together from the models of the roll-ups.
ELSEWHERE = {"common/sql.py", "common/inserts.py", "analytics/rollup.py"}
CHANGES = {"replace", "format", "sub", "translate"}
SQL = re.compile(
    r"""
    \bSELECT\s | \bINSERT\s+INTO\b | \bUPDATE\s+\S+\s+SET\b | \bDELETE\s+FROM\b | \bWITH\s+\w+\s+AS\b
    | \bFROM\s+\w+\s+(WHERE|JOIN|LEFT|ORDER|GROUP|LIMIT)\b | \bWHERE\s+\w+ | \b(ORDER|GROUP)\s+BY\b | \bFOR\s+UPDATE\b
    | \bUNION\s+ALL\b | \bSET\s+(LOCAL\s+)?\w+\s*= | \A\s*(NOTIFY|LISTEN|ANALYZE|VACUUM|TRUNCATE|CALL)\s
    """,
    re.VERBOSE,
)


CODE = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for room in ROOMS
    for path in Path(ROOT, room).rglob("*.py")
    if "migrations" not in path.parts
}


def holds_sql(name: str) -> bool:
    return name in ELSEWHERE or name.endswith("/statements.py")


def sql_in(code: ast.AST) -> list[str]:
    """The texts in this code that are SQL or a piece of it. A docstring, which only tells about SQL, is none."""
    sentences = {id(node.value) for node in ast.walk(code) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(code) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [text.value for text in texts if id(text) not in sentences and SQL.search(text.value)]


def test_sql_is_written_in_statements_py_alone() -> None:
    assert {name: lines for name, code in CODE.items() if not holds_sql(name) and (lines := sql_in(code))} == {}


def test_no_statement_is_made_by_changing_the_text_of_another() -> None:
    changes = [
        (name, node.func.attr)
        for name, code in CODE.items()
        if name.endswith(("/statements.py", "/sql.py"))
        for node in ast.walk(code)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES
    ]
    assert changes == []


@pytest.mark.parametrize(
    ("code", "is_sql"),
    [
        ('rows = fetch("SELECT id FROM outbox_message")', True),
        ('rows = fetch(f"SELECT {columns} FROM outbox_message")', True),
        ('condition = f" WHERE id IN {marks}"', True),
        ('run("UPDATE outbox_message SET owner = %s", owner)', True),
        ('cursor.execute("SET enable_seqscan = off")', True),
        ('def look():\n    """SELECT id FROM outbox_message is what it runs."""', False),
        ('help = "Select a stage, or update it from the list where it is shown."', False),
    ],
)
def test_sql_is_told_from_other_texts(code: str, is_sql: bool) -> None:
    assert bool(sql_in(ast.parse(code))) == is_sql
