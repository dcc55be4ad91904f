"""The check of PORTAL_STAGE, which `migrate` and `check --database default` run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import connection

from accounts.own_mail.sending import why_no_email
from organization.models import Stage


@checks.register(checks.Tags.database)
def check_portal_stage(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """A warning only: the stage may be made after the setting, on a portal page."""
    if not databases or not settings.PORTAL_STAGE or not _has_stages():
        return []
    if not (reason := why_no_email()):
        return []
    hint = "Name a stage that sends email by its key, or leave PORTAL_STAGE empty. Links are shown to administrators meanwhile."
    return [checks.Warning(reason, hint=hint, id="accounts.W001")]


def _has_stages() -> bool:
    """False before the first `migrate`."""
    with connection.cursor() as cursor:
        tables = {table.name for table in connection.introspection.get_table_list(cursor)}
    return Stage._meta.db_table in tables
