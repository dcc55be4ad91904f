"""For an email's page: what became of each recipient, in a sentence for the help desk, and what the server said, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from emailconfig.connection.explanations import Explanation
from emaillog.reasons import reason_of
from outbox.access.masking import Mask
from outbox.models import Attempt, Recipient, Status

_ADDRESSES_SHOWN = 10


@dataclass(frozen=True)
class RecipientOutcome:
    """One recipient, and what a person on the telephone may say about them; empty while nothing has happened."""

    recipient: Recipient
    sentence: str

    @property
    def element(self) -> str:
        """The id of the sentence on the page."""
        return f"sentence-{self.recipient.pk}"


@dataclass
class ServerReply:
    """What a server, or the portal about it, said: to how many tries, for whom, and when last."""

    first: Attempt
    tries: int
    last: datetime
    addresses: list[str]

    @property
    def meaning(self) -> Explanation | None:
        return self.first.meaning

    @property
    def shown(self) -> list[str]:
        return self.addresses[:_ADDRESSES_SHOWN]

    @property
    def more(self) -> int:
        return len(self.addresses) - len(self.shown)


def recipient_outcomes(recipients: Sequence[Recipient], attempts: Sequence[Attempt], mask: Mask) -> list[RecipientOutcome]:
    by_address: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_address.setdefault(attempt.address, []).append(attempt)
    return [
        RecipientOutcome(recipient, _sentence(recipient, by_address.get(recipient.address, []), mask)) for recipient in recipients
    ]


def server_replies(attempts: Sequence[Attempt]) -> list[ServerReply]:
    """The newest first. Tries without a reply, such as those of a worker that stopped, are in the timeline alone."""
    replies: dict[tuple[str, str], ServerReply] = {}
    for attempt in attempts:
        if not attempt.reply:
            continue
        reply = replies.setdefault((attempt.outcome, attempt.reply), ServerReply(attempt, 0, attempt.created, []))
        reply.tries, reply.last = reply.tries + 1, attempt.created
        if attempt.address not in reply.addresses:
            reply.addresses.append(attempt.address)
    return sorted(replies.values(), key=lambda reply: reply.last, reverse=True)


def _sentence(recipient: Recipient, attempts: Sequence[Attempt], mask: Mask) -> str:
    who = mask.address(recipient.address)
    if recipient.status == Status.SENT:
        sent = next((attempt for attempt in reversed(attempts) if attempt.outcome == Attempt.Outcome.SENT), None)
        when, server = recipient.finished, "the SMTP server"
        words = recipient.last_reply
        if sent:
            when, server, words = sent.created, sent.server or server, sent.reply
        said = f" with these words: {mask.text(words)}" if words else "."
        return f"Accepted by {server} on {_in_words(when)} for {who}{said}"
    if recipient.status not in (Status.FAILED, Status.DEFERRED) or not recipient.last_reply:
        return ""
    reason = reason_of(recipient.last_reply, attempts)
    verb = "wasn't delivered" if recipient.status == Status.FAILED else "isn't delivered yet"
    when = recipient.finished or (attempts[-1].created if attempts else None)
    meaning = f" {reason.meaning}" if reason.meaning else ""
    return f"The email {verb} to {who}{f' ({_in_words(when)})' if when else ''}.{meaning} {mask.text(reason.words)}"


def _in_words(when: datetime | None) -> str:
    return f"{timezone.localtime(when):%b %d, %Y, %H:%M:%S %Z}" if when else "an unknown date"
