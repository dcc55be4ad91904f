"""What the parts of delivery hand each other. Plain values: no database, no network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from outbox.attempt_outcome import AttemptOutcome

if TYPE_CHECKING:
    from common.addresses import NamedAddress
    from emailconfig.models import SmtpSettings
    from organization.recipient_policy.policy import AllowedPattern


# Who took which mail: its number, and the name of the turn that took it.
Hold = tuple[int, str]


class Claim(NamedTuple):
    """In whose name mails are taken for the wire, and for how long unless the lease is renewed."""

    owner: str
    lease: timedelta


class Addressee(NamedTuple):
    """One address that a mail is to reach now. `tries`: how often that was tried before."""

    pk: int
    address: str
    name: str
    tries: int
    rule: str = ""


class HandOver(NamedTuple):
    """What may be sent now: the mail and the recipients whose turn it is.

    `owner`: the turn that took it (see leases). `content` is None for a large mail. `test_people`: those of the test list whom
    its header may name when it is test mail; None when it goes to real recipients. `allowed`: who is allowed in the stage, as
    far as it counts for this mail; `only_allowed`: the app gave no other recipients. `kept_headers`: the fields that its stage
    kept in test mail when it was accepted, in lower case. `complete`: the mail has no other recipients, done or waiting.
    `short_lines`: its long lines were refused. `credential`: the username that handed it in, for the log.
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
    recipients: Sequence[Addressee]
    test_people: Sequence[NamedAddress] | None
    kept_headers: frozenset[bytes]
    complete: bool
    short_lines: bool = False
    credential: str = ""
    allowed: tuple[AllowedPattern, ...] = ()
    only_allowed: bool = False

    @property
    def hold(self) -> Hold:
        return self.pk, self.owner


class Outcome(NamedTuple):
    """What the server said to one recipient's copy. `code` is the SMTP reply code; None when there was no reply.

    `at_once`: it goes again right away and otherwise than before (see second_try), so no try is counted.
    """

    recipient: Addressee
    result: AttemptOutcome
    step: str
    code: int | None
    reply: str
    at_once: bool = False


class Finished(NamedTuple):
    """A mail that was handed over, and what became of it: one outcome per recipient.

    No outcomes: the server went away before it took up the mail; it goes back to the queue and no try is counted. If it is
    the mail that the server was asked about, it `goes_behind` the others: it may be the reason. `notes` are for the email log.
    `most_recipients`: how many the server takes in one transaction, where it said so. `short_lines`: it refused long lines.
    """

    taken: HandOver
    outcomes: Sequence[Outcome] = ()
    settings: SmtpSettings | None = None
    seconds: float = 0.0
    notes: Sequence[str] = ()
    goes_behind: bool = False
    most_recipients: int = 0
    short_lines: bool = False

    @property
    def is_simple(self) -> bool:
        """The usual case: the server took the mail for everybody."""
        sent = bool(self.outcomes) and all(outcome.result == AttemptOutcome.SENT for outcome in self.outcomes)
        return sent and self.taken.complete

    @property
    def may_go_on(self) -> bool:
        """Whether other recipients of the mail may be due right away."""
        return not self.taken.complete or any(outcome.at_once for outcome in self.outcomes)


class Turn(NamedTuple):
    """What a connection may send next, with the settings as they are now."""

    taken: Sequence[HandOver] = ()
    settings: SmtpSettings | None = None
    pause: float = 0.0  # seconds until the stage's limit lets more mail go; 0: no limit stops it
    trouble_is_over: bool = False  # the stage's pause has passed: the next mail that its server decides about ends it


class Silence(NamedTuple):
    """The server doesn't answer: about which mail, and since when, by uptime()."""

    message: int
    since: float
