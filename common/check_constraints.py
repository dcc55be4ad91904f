"""Migration operations that add CHECK constraints to tables with millions of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.migrations.operations import SeparateDatabaseAndState
from django.db.migrations.operations.base import Operation
from django.db.models import CheckConstraint

from common import statements


class AddChecks(Operation):
    """Add the constraints of one model.

    PostgreSQL holds new and changed rows to them right away and locks the table for a moment only. ValidateChecks, in a later
    migration, reads the rows that are there. SQLite builds the table again, once for all of the constraints.
    """

    def __init__(self, model_name: str, constraints: Sequence[CheckConstraint]) -> None:
        self.model_name, self.constraints = model_name, constraints

    def state_forwards(self, app_label: str, state: Any) -> None:
        for constraint in self.constraints:
            state.add_constraint(app_label, self.model_name.lower(), constraint)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor == "sqlite":
            _build_again(schema_editor, model, lambda: schema_editor.add_constraint(model, self.constraints[-1]))
            return
        for constraint in self.constraints:
            schema_editor.execute(f"{constraint.create_sql(model, schema_editor)} NOT VALID", params=None)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if schema_editor.connection.vendor == "sqlite":
            _build_again(schema_editor, model, lambda: schema_editor.remove_constraint(model, self.constraints[-1]))
            return
        for constraint in self.constraints:
            schema_editor.remove_constraint(model, constraint)

    def describe(self) -> str:
        return f"Add checks to {self.model_name}"


class ValidateChecks(Operation):
    """Hold the rows from before to the constraints too, without a lock that keeps anyone from writing."""

    def __init__(self, model_name: str, names: Sequence[str]) -> None:
        self.model_name, self.names = model_name, names

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The model is the same."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            table = schema_editor.quote_name(to_state.apps.get_model(app_label, self.model_name)._meta.db_table)
            for name in self.names:
                schema_editor.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {schema_editor.quote_name(name)}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Nothing to take back."""

    def describe(self) -> str:
        return f"Validate checks of {self.model_name}"


class KeepNumbers(SeparateDatabaseAndState):
    """Operations that may build a table again on SQLite. Its numbers count on: those of removed rows are never given again."""

    def __init__(self, table: str, operations: Sequence[Operation]) -> None:
        super().__init__(database_operations=operations, state_operations=operations)
        self.table = table

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        def build() -> None:
            super(KeepNumbers, self).database_forwards(app_label, schema_editor, from_state, to_state)

        if schema_editor.connection.vendor == "sqlite":
            _keep_numbers(schema_editor, self.table, build)
        else:
            build()


def _build_again(schema_editor: Any, model: Any, build: Callable[[], None]) -> None:
    """Build SQLite's table again, and let its numbers count on: those of rows that were removed are never given again."""
    _keep_numbers(schema_editor, model._meta.db_table, build)


def _keep_numbers(schema_editor: Any, table: str, build: Callable[[], None]) -> None:
    with schema_editor.connection.cursor() as cursor:
        last = cursor.execute(statements.LAST_NUMBER, [table]).fetchone()
        build()
        if last:
            cursor.execute(statements.FORGET_LAST_NUMBER, [table])
            cursor.execute(statements.KEEP_LAST_NUMBER, [table, *last])
