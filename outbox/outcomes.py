"""What became of a try: one outcome per recipient, written down and summed up on the mail."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from emailconfig.models import SmtpSettings
from outbox.claims import owned
from outbox.clock import database_now
from outbox.models import FINAL, WAITING, Attempt, HoldReason, Message, Recipient, Status

# Pauses before the second, third, … try of a recipient: about 48 hours in all (RFC 5321 section 4.5.4.1 asks for
# days, not hours). Time in which the stage itself was in trouble counts as no try.
PAUSES = [timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30)] + [timedelta(hours=1)] * 47
_GAVE_UP = "Given up after 48 hours of tries. The last answer was: "


@dataclass(frozen=True)
class Outcome:
    """What the server said to one recipient's copy. `code` is the SMTP reply code; None when there was no reply."""

    recipient: Recipient
    result: Attempt.Outcome
    step: str
    code: int | None
    reply: str


def next_pause(tries: int) -> timedelta | None:
    """How long to wait after so many tries, a little at random so that not all come back at once; None: give up."""
    if tries > len(PAUSES):
        return None
    return PAUSES[tries - 1] * random.uniform(0.9, 1.1)  # noqa: S311  # no secret depends on it


def record(
    message: Message, owner: str, outcomes: Sequence[Outcome], settings: SmtpSettings, seconds: float, notes: Sequence[str]
) -> bool:
    """Write the outcomes of one hand-over in one transaction.

    False: the mail's lease ran out meanwhile and it is somebody else's now; nothing was written.
    """
    with transaction.atomic():
        now = database_now()
        current = owned(owner, now, Status.SENDING).select_for_update().filter(pk=message.pk).first()
        if current is None:
            return False
        Attempt.objects.bulk_create(
            Attempt(
                message=message,
                address=outcome.recipient.address,
                outcome=outcome.result,
                step=outcome.step,
                code=outcome.code,
                reply=outcome.reply,
                server=str(settings),
                settings_version=settings.version,
                seconds=seconds,
            )
            for outcome in outcomes
        )
        for outcome in outcomes:
            _apply(outcome, now)
        current.notes = list(dict.fromkeys([*current.notes, *notes]))
        sum_up(current)
    return True


def give_back(message: Message, owner: str) -> None:
    """The server went away before MAIL FROM: the mail was not on the wire, and no try is counted."""
    with transaction.atomic():
        current = owned(owner, database_now(), Status.SENDING).select_for_update().filter(pk=message.pk).first()
        if current is not None:
            current.recipients.filter(status=Status.SENDING).update(status=Status.QUEUED)
            sum_up(current)


def hold(message: Message, reason: HoldReason) -> None:
    """Nothing of the mail goes out until the reason goes away. Whoever got it already stays sent."""
    message.recipients.filter(status__in=WAITING).update(status=Status.HELD)
    message.hold_reason = reason
    sum_up(message)


def sum_up(message: Message) -> None:
    """Bring the mail's own row in line with its recipients' states, and let go of the claim."""
    states = list(message.recipients.values_list("status", "due"))
    message.status = _summary([status for status, _ in states], held=bool(message.hold_reason))
    message.due = min((due for status, due in states if status in WAITING), default=database_now())
    message.owner, message.lease_until = "", None
    message.save(update_fields=["status", "due", "owner", "lease_until", "hold_reason", "notes"])


def _summary(states: Sequence[str], *, held: bool) -> Status:
    """What is still to happen comes before what happened; one failed recipient makes the mail failed."""
    if held:
        return Status.HELD
    for status in (Status.SENDING, Status.QUEUED, Status.DEFERRED, Status.HELD, Status.FAILED):
        if status in states:
            return status
    return Status.SENT


def _apply(outcome: Outcome, now: datetime) -> None:
    recipient = outcome.recipient
    recipient.tries += 1
    recipient.last_reply = outcome.reply
    if outcome.result == Attempt.Outcome.SENT:
        recipient.status = Status.SENT
    elif outcome.result == Attempt.Outcome.FAILED:
        recipient.status = Status.FAILED
    elif pause := next_pause(recipient.tries):
        recipient.status, recipient.due = Status.DEFERRED, now + pause
    else:
        recipient.status, recipient.last_reply = Status.FAILED, _GAVE_UP + outcome.reply
    recipient.finished = now if recipient.status in FINAL else None
    recipient.save(update_fields=["status", "due", "tries", "last_reply", "finished"])
