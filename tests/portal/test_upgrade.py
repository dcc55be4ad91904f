"""What the operator's guide promises of an upgrade: the release before runs on the new schema."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.migrations import AddField
from django.db.migrations.loader import MigrationLoader

# What came before the first release: no older program has ever run on these.
_BEFORE_RELEASES = {("emailconfig", "0002_oauth_and_connection_tests"), ("outbox", "0002_trouble_with_a_code")}


def added_columns() -> Iterator[tuple[str, models.Field]]:
    """Each column that a migration of ours added to a table, as its model has it today."""
    today = {model._meta.db_table: model for model in apps.get_models()}
    loader = MigrationLoader(None)
    for (app, name), migration in sorted(loader.disk_migrations.items()):
        if not (settings.BASE_DIR / app).is_dir() or (app, name) in _BEFORE_RELEASES:
            continue
        state = loader.project_state((app, name))
        for operation in migration.operations:
            if isinstance(operation, AddField):
                table = state.apps.get_model(app, operation.model_name)._meta.db_table
                yield f"{table}.{operation.name}", today[table]._meta.get_field(operation.name)


def test_a_row_that_the_release_before_inserts_needs_no_column_that_came_later() -> None:
    columns = dict(added_columns())
    assert "outbox_stagequeue.masked_evidence" in columns
    needed = [name for name, field in columns.items() if not (field.null or field.has_db_default() or field.many_to_many)]
    assert needed == [], "give these db_default, or the release before can't insert a row"
