"""Migrations: none is missing, and each goes there and back."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from organization.models import Role


@pytest.mark.django_db(transaction=True)
def test_every_migration_goes_back_and_forth() -> None:
    try:
        for app in ("outbox", "testlists", "emailconfig", "organization"):
            call_command("migrate", app, "zero", verbosity=0)
        tables = connection.introspection.table_names()
        assert not [table for table in tables if table.startswith(("outbox_", "testlists_", "emailconfig_", "organization_"))]
    finally:
        call_command("migrate", verbosity=0)
    assert Role.objects.filter(built_in=True).count() == 2


def test_no_migration_is_missing(db: None) -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
