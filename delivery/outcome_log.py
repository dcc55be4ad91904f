"""One log line for each answer of a stage's server about a message (see outbox.event_log)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from delivery.retry_schedule import next_pause
from delivery.values import MessageResult, Outcome
from outbox import event_log
from outbox.models import Attempt

_EVENTS = {
    Attempt.Outcome.SENT: "email_delivered",
    Attempt.Outcome.DEFERRED: "email_deferred",
    Attempt.Outcome.UNKNOWN: "email_deferred",
    Attempt.Outcome.FAILED: "email_failed",
}


def log_outcomes(results: Sequence[MessageResult], now: datetime) -> None:
    """Log the outcomes of claimed messages, one line for each answer of the server. Call it after the commit."""
    if not event_log.is_enabled(logging.INFO):
        return
    for result in results:
        groups: dict[tuple[object, ...], list[Outcome]] = {}
        for outcome in result.outcomes:
            groups.setdefault((outcome.result, outcome.code, outcome.reply), []).append(outcome)
        for group in groups.values():
            _log_outcome(result, group, now)


def _log_outcome(result: MessageResult, group: Sequence[Outcome], now: datetime) -> None:
    message, outcome = result.message, group[0]
    tries = outcome.recipient.tries + 1
    event = _EVENTS[outcome.result]
    if event == "email_deferred" and next_pause(tries) is None:
        event = "email_failed"  # it was tried for long enough
    addresses = [each.recipient.address for each in group]
    event_log.log.info(
        event,
        id=message.pk,
        message_id=message.message_id,
        app=message.app_key,
        stage=message.stage_key,
        credential=message.credential,
        server=str(result.settings or ""),
        step=outcome.step,
        code=outcome.code,
        reply=event_log.shown_reply(outcome.reply, addresses),
        tries=tries,
        seconds=round(result.seconds, 3),
        age_seconds=round((now - message.created).total_seconds(), 3),
        **event_log.recipients_of(addresses),
    )
