"""Accepting mail. Every door ends in `submit()`; when it returns, the mail is committed (or part of the caller's
transaction) and will end as sent, failed or held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import make_msgid
from django.core.mail.utils import DNS_NAME
from django.db import transaction

from emailconfig.models import SmtpSettings
from organization.addresses import validate_address, wire_address
from organization.models import App, Credential, Stage
from outbox.content import addresses_in, header_values, readable, split_header, with_crlf
from outbox.models import Content, Door, HoldReason, Message, Recipient, Status
from outbox.routing import ListState, Route, route
from testlists.models import TestList
from testlists.services import test_list_of

# RFC 5321 section 4.5.3.1.8 asks for at least 100.
MAX_RECIPIENTS = 1000


class SubmissionRefused(Exception):
    """The mail was not accepted and nothing was stored. `reply` is the SMTP answer: code, enhanced code, text."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.code, self.enhanced, self.text = code, enhanced, text

    @property
    def reply(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


@dataclass(frozen=True)
class Envelope:
    """Who the app says sends, and to whom. An empty sender is the null sender `<>`: bounces and the like."""

    sender: str
    recipients: Sequence[str]


def submit(
    app: App, stage: Stage, envelope: Envelope, content: bytes, *, via: Door, credential: Credential | None = None
) -> Message:
    """Accept one mail: check, route, store. `content` is a whole RFC 5322 message.

    Raises SubmissionRefused when the mail itself can't be accepted; database errors pass through and mean the same:
    nothing was stored.
    """
    checked = check_envelope(envelope)
    _check_place(app, stage)
    content = with_crlf(content)
    check_size(len(content))
    test_list = test_list_of(app, stage)
    with transaction.atomic():
        decided = route(checked.recipients, state_of(test_list))
        message = _new_message(app, stage, checked, content, decided)
        message.via, message.credential, message.list_version = via, credential, test_list.version
        message.save()
        Content.objects.create(message=message, data=content)
        _store_recipients(message, decided)
    return message


def check_envelope(envelope: Envelope) -> Envelope:
    """The envelope with every address in normal form. Raises SubmissionRefused, naming the address at fault."""
    if not envelope.recipients:
        raise SubmissionRefused(554, "5.5.1", "The mail has no recipient.")
    if len(envelope.recipients) > MAX_RECIPIENTS:
        raise SubmissionRefused(452, "4.5.3", f"Too many recipients: at most {MAX_RECIPIENTS} in one mail.")
    sender = check_sender(envelope.sender)
    return Envelope(sender, [check_recipient(address) for address in envelope.recipients])


def check_sender(address: str) -> str:
    return _check_address(address, "5.1.7") if address else ""


def check_recipient(address: str) -> str:
    return _check_address(address, "5.1.3")


def check_size(size: int) -> None:
    if size > settings.MESSAGE_MAX_BYTES:
        raise SubmissionRefused(
            552, "5.3.4", f"The mail has {size:,} bytes; at most {settings.MESSAGE_MAX_BYTES:,} are accepted."
        )


def state_of(test_list: TestList) -> ListState:
    """The list as routing sees it. The people on a list that never was Active don't matter, and are not read."""
    people = tuple(test_list.people()) if test_list.active_version else ()
    return ListState(test_list.active, people, test_list.version, test_list.active_version)


def _check_address(address: str, enhanced: str) -> str:
    try:
        normal = validate_address(address)
        wire_address(normal)
    except (ValidationError, UnicodeError) as error:
        text = error.messages[0] if isinstance(error, ValidationError) else f"“{address}” has no valid domain."
        raise SubmissionRefused(553, enhanced, text) from error
    return normal


def _check_place(app: App, stage: Stage) -> None:
    for place in (app, stage):
        if place.archived:
            raise SubmissionRefused(550, "5.7.1", f"{place} is archived and sends no mail.")


def _new_message(app: App, stage: Stage, envelope: Envelope, content: bytes, decided: Route) -> Message:
    fields, _ = split_header(content)
    senders = addresses_in(header_values(fields, b"from"))
    from_address = senders[0].email[:254] if senders else envelope.sender
    subject = readable(b" ".join(header_values(fields, b"subject")[:1]))[:500]
    message_id = readable(b" ".join(header_values(fields, b"message-id")[:1]))[:998] or make_msgid(domain=str(DNS_NAME))
    hold_reason = decided.hold_reason or _unconfigured(stage)
    routed = [person.email for person in decided.people]
    return Message(
        app=app,
        stage=stage,
        envelope_sender=envelope.sender,
        requested=list(envelope.recipients),
        from_address=from_address,
        subject=subject,
        message_id=message_id,
        size=len(content),
        search_text=search_text(subject, from_address, *envelope.recipients, *routed, message_id),
        route=decided.kind,
        status=Status.HELD if hold_reason else Status.QUEUED,
        hold_reason=hold_reason or "",
    )


def _unconfigured(stage: Stage) -> HoldReason | None:
    return None if SmtpSettings.objects.filter(stage=stage).exists() else HoldReason.STAGE_NOT_CONFIGURED


def search_text(*parts: str) -> str:
    """What the email log's search looks through: everything once, in lower case."""
    return "\n".join(dict.fromkeys(part.lower() for part in parts if part))


def _store_recipients(message: Message, decided: Route) -> None:
    Recipient.objects.bulk_create(
        Recipient(message=message, address=person.email, name=person.name[:100], status=message.status)
        for person in decided.people
    )
