from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class OrganizationConfig(AppConfig):
    name = "organization"

    def ready(self) -> None:
        from organization import checks  # noqa: F401  # registers them
        from organization.audit.append_only import install_triggers

        post_migrate.connect(_ensure_built_in_roles, sender=self)
        post_migrate.connect(install_triggers, sender=self)


def _ensure_built_in_roles(apps: Any = apps, **_: Any) -> None:
    """Create the built-in roles, if their table exists.

    `apps` has the models as migrated. There are none of this app after `migrate organization zero`.
    """
    from organization.builtin_roles import ensure_built_in_roles

    if "role" in apps.all_models["organization"]:
        ensure_built_in_roles()
