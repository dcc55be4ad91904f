"""What became of a try: one outcome per recipient, written down and summed up on the mail."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

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


@dataclass(frozen=True)
class Finished:
    """A mail that was handed over, and what became of it: one outcome per recipient.

    No outcomes: the server went away before it took up the mail; it goes back to the queue and no try is counted.
    `owner` and `complete` as in HandOver; `notes` are for the email log.
    """

    message_id: int
    owner: str
    recipients: Sequence[Recipient]
    complete: bool
    outcomes: Sequence[Outcome] = ()
    settings: SmtpSettings | None = None
    seconds: float = 0.0
    notes: Sequence[str] = ()

    @property
    def all_sent(self) -> bool:
        return bool(self.outcomes) and all(outcome.result == Attempt.Outcome.SENT for outcome in self.outcomes)


def record(finished: Sequence[Finished]) -> None:
    """Write what became of some hand-overs, in one transaction.

    A mail whose lease ran out meanwhile is somebody else's by now, and is passed over: its outcome is theirs to write.
    """
    if not finished:
        return
    with transaction.atomic(savepoint=False):
        now = database_now()
        owners = {one.owner for one in finished}
        ours = owned(owners, now, Status.SENDING).filter(pk__in=[one.message_id for one in finished])
        still_ours = set(ours.order_by().select_for_update().values_list("pk", flat=True))
        kept = [one for one in finished if one.message_id in still_ours]
        Attempt.objects.bulk_create(_attempt(one, outcome) for one in kept for outcome in one.outcomes)
        simple = [one for one in kept if one.all_sent and one.complete and not one.notes]
        _record_sent(simple, now)
        for one in kept:
            if one not in simple:
                _record_each(Message.objects.get(pk=one.message_id), one, now)


def _record_sent(finished: Sequence[Finished], now: datetime) -> None:
    """The usual case in two statements: the server took the mail for everybody."""
    if not finished:
        return
    recipients = [recipient.pk for one in finished for recipient in one.recipients]
    sent = Recipient.objects.filter(pk__in=recipients)
    sent.update(status=Status.SENT, tries=F("tries") + 1, last_reply="", finished=now)
    Message.objects.filter(pk__in=[one.message_id for one in finished]).update(status=Status.SENT, owner="", lease_until=None)


def _record_each(message: Message, finished: Finished, now: datetime) -> None:
    if not finished.outcomes:
        message.recipients.filter(status=Status.SENDING).update(status=Status.QUEUED)
    for outcome in finished.outcomes:
        _apply(outcome, now)
    # PostgreSQL takes no NUL, which an app may have put into a header that a note repeats.
    notes = [note.replace("\x00", "") for note in finished.notes]
    message.notes = list(dict.fromkeys([*message.notes, *notes]))
    sum_up(message)


def _attempt(finished: Finished, outcome: Outcome) -> Attempt:
    return Attempt(
        message_id=finished.message_id,
        address=outcome.recipient.address,
        outcome=outcome.result,
        step=outcome.step,
        code=outcome.code,
        reply=outcome.reply,
        server=str(finished.settings or ""),
        settings_version=finished.settings.version if finished.settings else None,
        seconds=finished.seconds,
    )


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
        recipient.status, recipient.last_reply = Status.SENT, ""
    elif outcome.result == Attempt.Outcome.FAILED:
        recipient.status = Status.FAILED
    elif pause := next_pause(recipient.tries):
        recipient.status, recipient.due = Status.DEFERRED, now + pause
    else:
        recipient.status, recipient.last_reply = Status.FAILED, _GAVE_UP + outcome.reply
    recipient.finished = now if recipient.status in FINAL else None
    recipient.save(update_fields=["status", "due", "tries", "last_reply", "finished"])
