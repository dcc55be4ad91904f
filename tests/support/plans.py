"""The database's plan of a statement."""

from __future__ import annotations

from django.db import connection

from common.sql import Statement


def plan(statement: Statement, *parameters: object) -> str:
    with connection.cursor() as cursor:
        prefix = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # a test's table is too small for an index to pay
        cursor.execute(f"{prefix} {statement.text}", parameters)
        return "\n".join(str(row) for row in cursor.fetchall())
