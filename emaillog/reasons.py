"""Why an email is held, was put off or failed: what the server's words mean, for the log and its file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from django.db.models import Min

from emailconfig.connection.explanations import Explanation
from outbox.models import Attempt, HoldReason, Message, Recipient, Status

_WITH_WORDS = (Status.FAILED, Status.DEFERRED)
# In a few words. The email's page has the whole sentence.
_HELD = {
    HoldReason.STAGE_NOT_CONFIGURED: "The stage has no SMTP settings, or nobody has decided since they were saved.",
    HoldReason.TEST_LIST_EMPTY: "Nobody is on the Active test list.",
    HoldReason.TEST_LIST_MISSING: "The test list is missing.",
    HoldReason.LIST_EXPIRED: "The test list has expired.",
    HoldReason.PAUSED: "A person paused the emails.",
    HoldReason.WAITED_TOO_LONG: "It waited too long for the SMTP server.",
    HoldReason.COPY: "It came with a copied database.",
    HoldReason.KEPT: "A person kept it.",
}


@dataclass(frozen=True)
class Reason:
    """What happened, as the server or the portal put it, and what that means; empty if the words say all there is."""

    words: str = ""
    meaning: str = ""

    @property
    def text(self) -> str:
        return self.meaning or self.words


def reasons_of(messages: Collection[Message]) -> dict[int, Reason]:
    """The reason of each message that has one, by number. The first recipient who didn't get it speaks for the message."""
    reasons = {message.pk: Reason(meaning=_why_held(message)) for message in messages if message.status == Status.HELD}
    with_words = [message.pk for message in messages if message.status in _WITH_WORDS]
    return reasons | _from_replies(with_words) if with_words else reasons


def reason_of(reply: str, attempts: Iterable[Attempt]) -> Reason:
    """What a recipient's last reply means. `attempts`: those for this recipient, of which the last counts."""
    said = [attempt for attempt in attempts if attempt.reply and attempt.reply in reply]
    meaning: Explanation | None = said[-1].meaning if said else None
    return Reason(reply, meaning.cause if meaning else "")


def _why_held(message: Message) -> str:
    reason = HoldReason(message.hold_reason)
    return _HELD.get(reason, str(reason.label))


def _from_replies(numbers: Collection[int]) -> dict[int, Reason]:
    unreached = Recipient.objects.filter(message__in=numbers, status__in=_WITH_WORDS).exclude(last_reply="").order_by()
    first = unreached.values("message").annotate(first=Min("pk")).values_list("first", flat=True)
    recipients = list(Recipient.objects.filter(pk__in=list(first)).only("message_id", "address", "last_reply"))
    attempts: dict[tuple[int, str], list[Attempt]] = {}
    addresses = {recipient.address for recipient in recipients}
    for attempt in Attempt.objects.filter(message__in=numbers, address__in=addresses).order_by("pk"):
        attempts.setdefault((attempt.message_id, attempt.address), []).append(attempt)
    return {
        recipient.message_id: reason_of(recipient.last_reply, attempts.get((recipient.message_id, recipient.address), []))
        for recipient in recipients
    }
