"""The values that the parts of delivery pass to each other. Plain values: no database, no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from organization.recipient_policy.policy import OPEN, PolicyState
from outbox.attempt_outcome import AttemptOutcome

if TYPE_CHECKING:
    from common.addresses import NamedAddress
    from emailconfig.models import SmtpSettings


# Which claim has which message: the message's number, and the claim's name.
LeaseKey = tuple[int, str]


class Claim(NamedTuple):
    """The name under which messages are claimed, and the length of the lease unless it is renewed."""

    owner: str
    lease: timedelta


class DueRecipient(NamedTuple):
    """One address that a message is to reach now. `tries`: how often that was tried before."""

    pk: int
    address: str
    name: str
    tries: int
    rule: str = ""


class ClaimedMessage(NamedTuple):
    """What may be sent now: the message and its due recipients.

    `owner`: the name of its claim (see leases). `content` is None for a large message. `test_people`: those on the test list
    whom its header may name when it is test mail; None when it goes to real recipients. `policy`: the stage's, as it counts for
    this message. `only_allowed`: the app gave no other recipients. `kept_headers`: the fields
    that its stage kept in test mail when it was accepted, in lower case. `complete`: it has no other recipients, done or
    waiting. `short_lines`: its long lines were refused. `credential`: the username that submitted it, for the log.
    `claimed`: when, after which a narrower policy or an activation couldn't be asked any more.
    """

    pk: int
    owner: str
    app_key: str
    stage_key: str
    subject_tag: str
    via: str
    envelope_sender: str
    message_id: str
    created: datetime
    size: int
    content: bytes | None
    recipients: Sequence[DueRecipient]
    test_people: Sequence[NamedAddress] | None
    kept_headers: frozenset[bytes]
    complete: bool
    short_lines: bool = False
    credential: str = ""
    policy: PolicyState = OPEN
    only_allowed: bool = False
    claimed: datetime | None = None

    @property
    def lease_key(self) -> LeaseKey:
        return self.pk, self.owner


class Outcome(NamedTuple):
    """What the server said to one recipient's copy. `code` is the SMTP reply code; None when there was no reply.

    `at_once`: the copy goes again right away in a different form (see second_try), so no try is counted.
    """

    recipient: DueRecipient
    result: AttemptOutcome
    step: str
    code: int | None
    reply: str
    at_once: bool = False


class MessageResult(NamedTuple):
    """A claimed message and its outcomes, one per recipient.

    Without outcomes the server went away before it dealt with the message, which goes back to the queue without a counted try.
    The message that the server was asked about goes last (`requeue_last`), because it may be the reason. `notes` are
    for the email log. `most_recipients`: how many recipients the server accepts in one transaction, where it said so.
    `short_lines`: the server refused long lines.
    """

    message: ClaimedMessage
    outcomes: Sequence[Outcome] = ()
    settings: SmtpSettings | None = None
    seconds: float = 0.0
    notes: Sequence[str] = ()
    requeue_last: bool = False
    most_recipients: int = 0
    short_lines: bool = False

    @property
    def all_sent(self) -> bool:
        """Whether the server accepted the message for every recipient, which is the usual case."""
        sent = bool(self.outcomes) and all(outcome.result == AttemptOutcome.SENT for outcome in self.outcomes)
        return sent and self.message.complete

    @property
    def may_go_on(self) -> bool:
        """Whether other recipients of the message may be due right away."""
        return not self.message.complete or any(outcome.at_once for outcome in self.outcomes)


class Batch(NamedTuple):
    """What a connection may send next, with the settings as they are now."""

    messages: Sequence[ClaimedMessage] = ()
    settings: SmtpSettings | None = None
    pause: float = 0.0  # seconds until the stage's limit lets more messages go; 0: no limit stops them
    backoff_is_over: bool = False  # the stage's pause has passed: the server's next decision ends the back-off


class Silence(NamedTuple):
    """The silence of a server: about which message, and since when, by boottime()."""

    message: int
    since: float
