"""One log line for each accepted email and for each outcome.

They answer “where did email 42 go?”. No line has a subject or content. Addresses are masked unless LOG_ADDRESSES is set.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings

from common.addresses import masked_address
from outbox.access.masking import for_log
from outbox.models import HoldReason, Message

if TYPE_CHECKING:
    from outbox.exceptions import SubmissionRefused
    from outbox.values import AcceptedMessage, Submission

log = structlog.get_logger(__name__)
_logger = logging.getLogger(__name__)

# A line names this many recipients; the number of all is beside it.
_NAMED = 5
_REPLY_LENGTH = 200


def is_enabled(level: int) -> bool:
    """Whether lines of that level are written at all. Callers check it before they build thousands of lines."""
    return _logger.isEnabledFor(level)


def accepted(emails: Iterable[tuple[Submission, AcceptedMessage]]) -> None:
    """Log accepted messages. Call it after the commit."""
    if not is_enabled(logging.INFO):
        return
    for submission, email in emails:
        credential = submission.credential
        log.info(
            "email_accepted",
            id=email.pk,
            message_id=email.row["message_id"],
            app=submission.app.key,
            stage=submission.stage.key,
            source=submission.via.value,
            credential=credential.username if credential else "",
            client=submission.client,
            status=email.row["status"],
            hold_reason=email.row["hold_reason"],
            route=email.row["route"],
            size=email.row["size"],
            **recipients_of(submission.envelope.recipients),
        )


def refused(submission: Submission, refusal: SubmissionRefused) -> None:
    """Log a refused message, of which nothing was stored. The gateway logs its own refusals, since it knows the command."""
    log.info(
        "email_refused",
        step="submit",
        app=submission.app.key,
        stage=submission.stage.key,
        source=submission.via.value,
        code=refusal.code,
        reply=shown_reply(refusal.reply, submission.envelope.recipients),
    )


def held(stage_key: str, messages: Collection[int], reason: HoldReason) -> None:
    """Log held messages. Call it after the commit."""
    for pk in messages:
        log.info("email_held", id=pk, stage=stage_key, hold_reason=reason.value)


def ended(message: Message, event: str, reason: str) -> None:
    """Log an outcome without an answer of the server: a worker died, or a person decided. Call it after the commit."""
    log.info(event, id=message.pk, message_id=message.message_id, app=message.app.key, stage=message.stage.key, reason=reason)


def ended_together(messages: Iterable[Message], reason: str) -> None:
    """As ended(), for messages that a person ended as failed."""
    for message in messages:
        ended(message, "email_failed", reason)


def recipients_of(addresses: Sequence[str]) -> dict[str, Any]:
    """The first few addresses as a line may show them, and how many there are."""
    named = addresses[:_NAMED]
    return {
        "recipients": list(named) if settings.LOG_ADDRESSES else [masked_address(address) for address in named],
        "recipient_count": len(addresses),
    }


def shown_reply(reply: str, addresses: Sequence[str]) -> str:
    """The beginning of the server's words, masked. Servers repeat addresses, or only their part before the @-sign."""
    return for_log(reply[:_REPLY_LENGTH], addresses[:_NAMED])
