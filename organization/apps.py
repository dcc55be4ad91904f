from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class OrganizationConfig(AppConfig):
    name = "organization"

    def ready(self) -> None:
        from organization import checks  # noqa: F401  # registers them

        post_migrate.connect(_ensure_built_in_roles, sender=self)


def _ensure_built_in_roles(apps: Any = apps, **_: Any) -> None:
    """`apps` are the models as migrated: none of ours after `migrate organization zero`."""
    from organization.builtin_roles import ensure_built_in_roles

    if "role" in apps.all_models["organization"]:
        ensure_built_in_roles()
