"""One log line for each answer of a stage's server about an email (see outbox.event_log)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from delivery.retry_schedule import next_pause
from delivery.values import Finished, Outcome
from outbox import event_log
from outbox.models import Attempt

_EVENTS = {
    Attempt.Outcome.SENT: "email_delivered",
    Attempt.Outcome.DEFERRED: "email_deferred",
    Attempt.Outcome.UNKNOWN: "email_deferred",
    Attempt.Outcome.FAILED: "email_failed",
}


def log_outcomes(finished: Sequence[Finished], now: datetime) -> None:
    """What became of claimed messages: a line for each answer of the server. For after the commit."""
    if not event_log.is_enabled(logging.INFO):
        return
    for one in finished:
        groups: dict[tuple[object, ...], list[Outcome]] = {}
        for outcome in one.outcomes:
            groups.setdefault((outcome.result, outcome.code, outcome.reply), []).append(outcome)
        for group in groups.values():
            _log_outcome(one, group, now)


def _log_outcome(finished: Finished, group: Sequence[Outcome], now: datetime) -> None:
    claimed, outcome = finished.taken, group[0]
    tries = outcome.recipient.tries + 1
    event = _EVENTS[outcome.result]
    if event == "email_deferred" and next_pause(tries) is None:
        event = "email_failed"  # it was tried for long enough
    addresses = [each.recipient.address for each in group]
    event_log.log.info(
        event,
        id=claimed.pk,
        message_id=claimed.message_id,
        app=claimed.app_key,
        stage=claimed.stage_key,
        credential=claimed.credential,
        server=str(finished.settings or ""),
        step=outcome.step,
        code=outcome.code,
        reply=event_log.shown_reply(outcome.reply, addresses),
        tries=tries,
        seconds=round(finished.seconds, 3),
        age_seconds=round((now - claimed.created).total_seconds(), 3),
        **event_log.recipients_of(addresses),
    )
