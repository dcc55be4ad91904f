"""Let the database itself keep the audit trail append-only.

Triggers refuse every UPDATE, and every DELETE of an entry younger than KEPT_DAYS, from the portal or any other program. They
are installed after each `migrate`, because SQLite builds a table again to change it, and then it has no triggers.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connections

from common import sql
from organization import statements
from organization.models import AuditEvent
from organization.statements import KEPT_DAYS

_SLICE = 1000


def install_triggers(using: str = "default", **_: Any) -> None:
    """For the signal post_migrate. Does nothing while the table doesn't exist."""
    if statements.AUDIT_TABLE not in connections[using].introspection.table_names():
        return
    for statement in statements.APPEND_ONLY_TRIGGERS:
        if statement.text:
            sql.run(statement)


def remove_older_than(moment: datetime, now: datetime) -> None:
    """Remove the entries from before `moment`, but none that is younger than KEPT_DAYS at `now`."""
    old = AuditEvent._base_manager.filter(at__lt=min(moment, now - timedelta(days=KEPT_DAYS))).order_by("pk")
    while ids := list(old.values_list("pk", flat=True)[:_SLICE]):
        AuditEvent._base_manager.filter(pk__in=ids).delete()
