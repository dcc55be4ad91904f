"""Record the outcomes of a try, one per recipient, and sum them up on the message."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from django.db import connection
from django.db.models import F

from common import sql
from common.clock import database_now
from common.inserts import insert, json_rows
from delivery import statements
from delivery.leases import query_still_held
from delivery.retry_schedule import next_pause
from delivery.values import LeaseKey, MessageResult, Outcome
from outbox.models import FINAL, GIVEN_UP, Attempt, Message, Recipient, Status
from outbox.states import sum_up

_GAVE_UP = f"{GIVEN_UP} after 48 hours of tries. The last answer was: "


def record(results: Sequence[MessageResult]) -> Callable[[], list[MessageResult]]:
    """Record the results of the messages that are still ours (see leases), in the caller's transaction.

    Another worker records the others. Returns a function that gives those results. It may be called after the commit.
    """
    at_once, others = _apart(results)
    ours, recorded = _record_at_once(at_once), _record_others(others)
    return lambda: [*_only(at_once, ours()), *recorded]


def _apart(results: Sequence[MessageResult]) -> tuple[list[MessageResult], list[MessageResult]]:
    """The results that one statement records, as nearly all, and the others.

    SQLite has no such statement, and its statements wait for nothing. The statement takes a message once. There may be two
    results of one whose lease was lost.
    """
    at_once, others = dict[int, MessageResult](), list[MessageResult]()
    has_statement = connection.vendor == "postgresql"
    for result in results:
        if has_statement and result.all_sent and not result.notes and result.message.pk not in at_once:
            at_once[result.message.pk] = result
        else:
            others.append(result)
    return list(at_once.values()), others


def _only(results: Sequence[MessageResult], ours: Collection[LeaseKey]) -> list[MessageResult]:
    return [result for result in results if result.message.lease_key in ours]


def _record_at_once(results: Sequence[MessageResult]) -> Callable[[], Collection[LeaseKey]]:
    """Record that these messages are sent. Which of them were still ours is read when the function is called."""
    if not results:
        return set
    ids, owners = zip(*(result.message.lease_key for result in results), strict=True)
    attempts = json_rows(statements.new_attempts(_attempts(results)))
    ours = sql.query_lazy(statements.RECORD_SENT, list(ids), list(owners), attempts, _recipients_of(results))
    return lambda: set(ours())


def _record_others(results: Sequence[MessageResult]) -> list[MessageResult]:
    """Record results of any kind, and return those of messages that were still ours."""
    if not results:
        return []
    kept, now = _only(results, query_still_held([result.message.lease_key for result in results])()), database_now()
    insert(statements.new_attempts(_attempts(kept)))
    _record_sent([result for result in kept if result.all_sent], now)
    for result in kept:
        if not result.all_sent:
            _record_each(result, now)
    _add_notes([result for result in kept if result.notes])
    return kept


def _attempts(results: Sequence[MessageResult]) -> list[tuple[object, ...]]:
    return [_attempt(result, outcome) for result in results for outcome in result.outcomes]


def _recipients_of(results: Sequence[MessageResult]) -> list[int]:
    return [recipient.pk for result in results for recipient in result.message.recipients]


def _attempt(result: MessageResult, outcome: Outcome) -> tuple[object, ...]:
    settings = result.settings
    return (
        result.message.pk,
        outcome.recipient.address,
        outcome.recipient.rule,
        sql.to_db_time(result.message.claimed) if result.message.claimed else None,
        outcome.result.value,
        outcome.step,
        outcome.code,
        outcome.reply,
        str(settings or ""),
        settings.version if settings else None,
        result.seconds,
    )


def _record_sent(results: Sequence[MessageResult], now: datetime) -> None:
    if not results:
        return
    messages = [result.message.pk for result in results]
    sql.run_pair(statements.MESSAGES_SENT, [sql.to_db_time(now), _recipients_of(results)], [messages])


def _record_each(result: MessageResult, now: datetime) -> None:
    message = Message.objects.get(pk=result.message.pk)
    if not result.outcomes:
        back = message.recipients.filter(status=Status.SENDING)
        back.update(status=Status.QUEUED, due=now if result.requeue_last else F("due"))
    if sent := [outcome.recipient.pk for outcome in result.outcomes if outcome.result == Attempt.Outcome.SENT]:
        sql.run(statements.RECIPIENTS_SENT, sql.to_db_time(now), sent)
    for outcome in result.outcomes:
        if outcome.result != Attempt.Outcome.SENT:
            _apply(outcome, now)
    if result.short_lines:
        message.short_lines = True
        sql.update(message, "short_lines")
    sum_up(message)


def _add_notes(finished: Sequence[MessageResult]) -> None:
    """Add the notes of all messages in one statement: where a stage replaces From, each message has one."""
    messages = Message.objects.only("notes").in_bulk([result.message.pk for result in finished])
    for result in finished:
        message = messages[result.message.pk]
        # PostgreSQL stores no NUL. An app may have put one into a header that a note repeats.
        notes = [note.replace("\x00", "") for note in result.notes]
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
