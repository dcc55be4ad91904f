from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class OrganizationConfig(AppConfig):
    name = "organization"

    def ready(self) -> None:
        post_migrate.connect(_ensure_built_in_roles, sender=self)


def _ensure_built_in_roles(**_: Any) -> None:
    from organization.builtin_roles import ensure_built_in_roles

    ensure_built_in_roles()
