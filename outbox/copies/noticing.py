"""Seal a new database, and note what came with a copy when a process first notices that it is one.

Workers and gateways do it when they start and every few seconds. Claims don't wait for it: they compare the seal themselves.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from common.clock import database_now
from common.outage import Outage
from organization.installation.identity import LABELS
from organization.installation.seal import asking_copy, current_seal, differences, seal_new
from organization.models import AuditEvent, Installation
from outbox.models import Attempt, Message

_outage = Outage("database_is_a_copy", "copy_answered")


def notice() -> bool:
    """Seal the database if it is new. Of a copy that asks, note what came with it. Returns whether it asks."""
    seal_new()
    copy = asking_copy()
    if copy is None:
        _outage.end()
        return False
    note_what_came(copy)
    _outage.note(_in_words(copy))
    return True


def note_what_came(copy: Installation) -> Installation:
    """Note when a process last noticed it, and once for each copy what came with it. Returns the row."""
    with transaction.atomic():
        row = Installation.objects.select_for_update().get(pk=copy.pk)
        if row.noticed_by != current_seal():
            row.noticed_by = current_seal()
            row.backup_time, row.last_message = latest_activity(), last_message()
        row.noticed = database_now()
        row.save(update_fields=["noticed_by", "noticed", "backup_time", "last_message"])
    return row


def _in_words(copy: Installation) -> str:
    changed = [f"{LABELS[name]}: {before or 'none'} is now {now or 'none'}" for name, (before, now) in differences(copy).items()]
    return f"{'; '.join(changed)}. Nothing is sent until a person answers with manage.py installation."


def latest_activity() -> datetime | None:
    """The latest time in the rows: about when the backup was made."""
    times = (
        Message.objects.order_by("-pk").values_list("created", flat=True).first(),
        Attempt.objects.order_by("-pk").values_list("created", flat=True).first(),
        AuditEvent.objects.order_by("-pk").values_list("at", flat=True).first(),
    )
    return max((time for time in times if time is not None), default=None)


def last_message() -> int:
    return Message.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
