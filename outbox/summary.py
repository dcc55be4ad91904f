"""A mail's own status, summed up from its recipients'."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from common import sql
from common.clock import database_now
from outbox import event_log
from outbox.models import WAITING, HoldReason, Message, Status


def sum_up(message: Message) -> None:
    """Bring the mail's own row in line with its recipients' states, and let go of it."""
    states = list(message.recipients.values_list("status", "due"))
    message.status = _summary([status for status, _ in states], held=bool(message.hold_reason))
    message.due = min((due for status, due in states if status in WAITING), default=database_now())
    message.owner, message.lease_until = "", None
    sql.update(message, "status", "due", "owner", "lease_until", "hold_reason", "notes")


def hold(message: Message, reason: HoldReason) -> None:
    """Nothing of the mail goes out until the reason goes away. Whoever got it already stays sent."""
    message.recipients.filter(status__in=WAITING).update(status=Status.HELD)
    message.hold_reason = reason
    sum_up(message)
    transaction.on_commit(lambda: event_log.held(message.stage.key, [message.pk], reason), robust=True)


def _summary(states: Sequence[str], *, held: bool) -> Status:
    """What is still to happen comes before what happened; one failed recipient makes the mail failed, and so does having
    none: it was held with nobody to get it, and then cancelled."""
    if held:
        return Status.HELD
    for status in (Status.SENDING, Status.QUEUED, Status.DEFERRED, Status.HELD, Status.FAILED):
        if status in states:
            return status
    return Status.SENT if states else Status.FAILED
