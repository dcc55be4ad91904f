"""What became of a try: one outcome per recipient, written down and summed up on the mail."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import F

from common import sql
from delivery import statements
from delivery.leases import ask_still_held
from delivery.outcome_log import log_outcomes
from delivery.retry_schedule import next_pause
from delivery.values import Finished, Hold, Outcome
from outbox.models import FINAL, GIVEN_UP, Attempt, Message, Recipient, Status
from outbox.states import sum_up

_GAVE_UP = f"{GIVEN_UP} after 48 hours of tries. The last answer was: "


def ask_held(finished: Sequence[Finished]) -> Callable[[], set[Hold]]:
    """Which of these mails are still ours to write about (see leases); the others' outcomes are somebody else's to write."""
    return ask_still_held([one.taken.hold for one in finished])


def record(finished: Sequence[Finished], ours: Collection[Hold], now: datetime) -> None:
    """Write what became of those hand-overs that are `ours`, in the caller's transaction, at `now`."""
    kept = [one for one in finished if one.taken.hold in ours]
    attempts = [_attempt(one, outcome) for one in kept for outcome in one.outcomes]
    sql.insert(statements.new_attempts(attempts))
    _record_sent([one for one in kept if one.is_simple], now)
    for one in kept:
        if not one.is_simple:
            _record_each(one, now)
    _add_notes([one for one in kept if one.notes])
    transaction.on_commit(lambda: log_outcomes(kept, now), robust=True)


def _attempt(finished: Finished, outcome: Outcome) -> tuple[object, ...]:
    settings = finished.settings
    return (
        finished.taken.pk,
        outcome.recipient.address,
        outcome.result.value,
        outcome.step,
        outcome.code,
        outcome.reply,
        str(settings or ""),
        settings.version if settings else None,
        finished.seconds,
    )


def _record_sent(finished: Sequence[Finished], now: datetime) -> None:
    if not finished:
        return
    recipients = [recipient.pk for one in finished for recipient in one.taken.recipients]
    mails = [one.taken.pk for one in finished]
    sql.run_together(statements.MESSAGES_SENT, [sql.stored(now), recipients], [mails])


def _record_each(finished: Finished, now: datetime) -> None:
    message = Message.objects.get(pk=finished.taken.pk)
    if not finished.outcomes:
        back = message.recipients.filter(status=Status.SENDING)
        back.update(status=Status.QUEUED, due=now if finished.goes_behind else F("due"))
    if sent := [outcome.recipient.pk for outcome in finished.outcomes if outcome.result == Attempt.Outcome.SENT]:
        sql.run(statements.RECIPIENTS_SENT, sql.stored(now), sent)
    for outcome in finished.outcomes:
        if outcome.result != Attempt.Outcome.SENT:
            _apply(outcome, now)
    if finished.short_lines:
        message.short_lines = True
        sql.update(message, "short_lines")
    sum_up(message)


def _add_notes(finished: Sequence[Finished]) -> None:
    """All in one statement: where a stage replaces From, each email has a note."""
    messages = Message.objects.only("notes").in_bulk([one.taken.pk for one in finished])
    for one in finished:
        message = messages[one.taken.pk]
        # PostgreSQL takes no NUL, which an app may have put into a header that a note repeats.
        notes = [note.replace("\x00", "") for note in one.notes]
        message.notes = list(dict.fromkeys([*message.notes, *notes]))
    Message.objects.bulk_update(messages.values(), ["notes"])


def _apply(outcome: Outcome, now: datetime) -> None:
    tries, status, reply, due = outcome.recipient.tries + 1, Status.FAILED, outcome.reply, now
    if outcome.at_once:
        tries, status = outcome.recipient.tries, Status.QUEUED
    elif outcome.result != Attempt.Outcome.FAILED:
        if pause := next_pause(tries):
            status, due = Status.DEFERRED, now + pause
        else:
            reply = _GAVE_UP + reply
    finished = now if status in FINAL else None
    Recipient.objects.filter(pk=outcome.recipient.pk).update(
        status=status, due=due, tries=tries, last_reply=reply, finished=finished
    )
