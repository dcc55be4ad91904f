"""Check the envelope that an app submits: what of it can be used, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.core.exceptions import ValidationError

from common.addresses import ADDRESS_MAX_LENGTH, is_address, is_printable, printable, validate_address
from common.exceptions import NotOneAddress
from outbox.exceptions import SubmissionRefused

# RFC 5321 section 4.5.3.1.8 asks for at least 100.
MAX_RECIPIENTS = 1000
_BAD_RECIPIENT, _BAD_SENDER = "5.1.3", "5.1.7"


class RefusedRecipient(NamedTuple):
    """A recipient that no email can reach, and why."""

    address: str
    reason: str


@dataclass(frozen=True)
class Envelope:
    """The sender and the recipients that the app gave. An empty sender is the null sender `<>`, for example of bounces.

    `refused`: the recipients that check_envelope() removed.
    """

    sender: str
    recipients: Sequence[str]
    refused: Sequence[RefusedRecipient] = ()

    @property
    def requested(self) -> list[str]:
        return [*self.recipients, *(recipient.address for recipient in self.refused)]


def check_envelope(envelope: Envelope) -> Envelope:
    """The envelope with every address in normal form. A recipient that no email can reach is refused alone.

    Raises SubmissionRefused, which names the address at fault, when a recipient isn't exactly one address, because then it is
    unclear who was meant. It is also raised when no recipient is left.
    """
    if not envelope.recipients:
        raise SubmissionRefused(554, "5.5.1", "The email has no recipient.")
    if len(envelope.recipients) > MAX_RECIPIENTS:
        raise SubmissionRefused(452, "4.5.3", f"Too many recipients: at most {MAX_RECIPIENTS} in one email.")
    sender = check_sender(envelope.sender)
    checked = [_check_address(address) for address in envelope.recipients]
    recipients = [address for address in checked if isinstance(address, str)]
    refused = list(dict.fromkeys(address for address in checked if isinstance(address, RefusedRecipient)))
    if not recipients:
        raise SubmissionRefused(553, _BAD_RECIPIENT, refused[0].reason)
    return Envelope(sender, recipients, refused)


def check_sender(address: str) -> str:
    """The sender in normal form. What isn't an address stays as written, because it never leaves (see is_usable_sender).

    Raises SubmissionRefused for control and invisible characters.
    """
    if not address:
        return ""
    try:
        return validate_address(address)
    except ValidationError as error:
        if not is_printable(address):
            raise SubmissionRefused(553, _BAD_SENDER, error.messages[0]) from error
        return _storable(address)


def is_usable_sender(sender: str) -> bool:
    """Whether a message can leave with this envelope sender. If not, the stage's sender replaces it."""
    return not sender or is_address(sender)


def sender_notes(sender: str) -> list[str]:
    """What the email log says about an envelope sender that can't be used."""
    if is_usable_sender(sender):
        return []
    return [f"The app's envelope sender “{printable(sender)}” isn't an address, so the email leaves with the stage's sender."]


def check_recipient(address: str) -> str:
    """The recipient in normal form. Raises SubmissionRefused."""
    checked = _check_address(address)
    if isinstance(checked, RefusedRecipient):
        raise SubmissionRefused(553, _BAD_RECIPIENT, checked.reason)
    return checked


def _check_address(address: str) -> str | RefusedRecipient:
    try:
        return validate_address(address)
    except NotOneAddress as error:
        raise SubmissionRefused(553, _BAD_RECIPIENT, error.messages[0]) from error
    except ValidationError as error:
        return RefusedRecipient(_storable(address), error.messages[0])


def _storable(address: str) -> str:
    """The address cut to the length of a column. A text that is cut was never an address."""
    address = address.strip()
    return address if len(address) <= ADDRESS_MAX_LENGTH else f"{address[: ADDRESS_MAX_LENGTH - 1]}…"
