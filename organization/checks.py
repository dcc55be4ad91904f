"""What the organization's rows hold, for the checks that `migrate` and `check --database default` run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import connections

from organization.models import Role
from organization.permissions import unknown_codes


@checks.register(checks.Tags.database)
def check_permission_codes(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """A warning only: after the way back to the release before, roles may hold what the newer one knew."""
    hint = "No member gets such a permission. Save the role without it, or use the release that knows it."
    return [
        checks.Warning(
            f"The role {role.name} has an unknown permission: {', '.join(unknown)}.", hint=hint, id="organization.W001"
        )
        for alias in databases or ()
        for role in _roles(alias)
        if (unknown := unknown_codes(role.permissions))
    ]


def _roles(alias: str) -> list[Role]:
    """None before the first `migrate`."""
    with connections[alias].cursor() as cursor:
        tables = {table.name for table in connections[alias].introspection.get_table_list(cursor)}
    return list(Role.objects.using(alias).only("name", "permissions")) if Role._meta.db_table in tables else []
