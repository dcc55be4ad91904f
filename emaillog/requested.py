"""The outcome for each recipient that the app named, for the message's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.addresses import same_address_key
from emaillog.content_preview import header_names
from outbox.access.masking import Mask
from outbox.models import Message, Recipient, RouteKind, Status

_OUTCOMES = {
    Status.QUEUED: "Waiting to be sent to this recipient.",
    Status.SENDING: "Being handed to the server now.",
    Status.DEFERRED: "Not sent yet. It will be tried again.",
    Status.SENT: "The server accepted the email for this recipient.",
    Status.FAILED: "This recipient did not get the email.",
    Status.CAPTURED: "Captured: the email is not sent to this recipient.",
    Status.HELD: "Held: the email was not sent to this recipient yet.",
}
_HELD = "Held: the email was not sent to any recipient yet."
_INSTEAD = "This recipient does not get the email. The test list takes its place."
_FORWARDED = "This recipient does not get the email. A person forwarded it as test mail."
_NOBODY = "This recipient did not get the email."


@dataclass(frozen=True)
class RequestedRecipient:
    """An address that the app named.

    `header` names the header that contains the address, if that is known. `recipient` is the delivery to this address.
    """

    address: str
    header: str
    outcome: str
    recipient: Recipient | None


def requested_recipients(
    message: Message, recipients: Sequence[Recipient], mask: Mask, *, content_is_there: bool
) -> list[RequestedRecipient]:
    """Return the addresses in the order of the envelope. Without the content, the header of an address isn't known."""
    headers = header_names(message)
    elsewhere = "Bcc" if content_is_there else ""
    own = {same_address_key(recipient.address): recipient for recipient in recipients}
    return [
        RequestedRecipient(
            mask.address(address), headers.get(key, elsewhere), _outcome(message, recipients, own.get(key)), own.get(key)
        )
        for address, key in ((address, same_address_key(address)) for address in message.requested)
    ]


def _outcome(message: Message, recipients: Sequence[Recipient], own: Recipient | None) -> str:
    if own is not None:
        return _OUTCOMES[Status(own.status)]
    if message.status == Status.HELD:
        return _HELD
    if message.route == RouteKind.FORWARDED:
        return _FORWARDED
    return _INSTEAD if message.route == RouteKind.TEST_LIST and recipients else _NOBODY
