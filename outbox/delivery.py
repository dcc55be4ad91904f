"""Delivering a stage's mail over one SMTP connection, a mail at a time: claim, connect, hand over, transmit, record.

What goes wrong before MAIL FROM is the stage's trouble (stage_queue) and counts on no mail; what the server says to a
mail or to a recipient is theirs (outcomes).
"""

from __future__ import annotations

import smtplib
import time
from dataclasses import dataclass

import structlog

from emailconfig.connection import ConnectionTrouble, connect
from emailconfig.models import SmtpSettings
from organization.addresses import NamedAddress
from outbox import claims, stage_queue
from outbox.content import Departure, addresses_in, header_values, outgoing, split_header
from outbox.hand_over import HandOver, hand_over
from outbox.models import Content, HoldReason, Message
from outbox.outcomes import give_back, hold, record
from outbox.transmission import ServerWentAway, Transmission, transmit

log = structlog.get_logger(__name__)

MAILS_PER_CLAIM = 20


@dataclass
class Session:
    """One connection's worth of delivering. `run()` leaves no claim and no connection behind."""

    stage_id: int
    owner: str
    smtp: smtplib.SMTP | None = None
    connected_version: int = 0
    handed_over: int = 0

    def run(self) -> int:
        """Deliver due mail until none is left or the server gives trouble. Returns how many mails were handed over."""
        try:
            while ids := claims.claim(self.stage_id, self.owner, MAILS_PER_CLAIM):
                for message_id in ids:
                    self._deliver(message_id)
        except ConnectionTrouble as trouble:
            stage_queue.note_trouble(self.stage_id, trouble)
        finally:
            self._disconnect()
            claims.release(self.owner)
        return self.handed_over

    def _deliver(self, message_id: int) -> None:
        settings = SmtpSettings.objects.filter(stage_id=self.stage_id).first()
        if settings is None:
            hold(Message.objects.get(pk=message_id), HoldReason.STAGE_NOT_CONFIGURED)
            return
        smtp = self._connected(settings)
        taken = hand_over(message_id, self.owner)
        if taken is None:
            return
        self.handed_over += 1
        self._transmit_and_record(smtp, taken, settings)

    def _connected(self, settings: SmtpSettings) -> smtplib.SMTP:
        """The open connection; a new one when there is none, or when the settings were saved since."""
        if self.smtp is not None and self.connected_version != settings.version:
            self._disconnect()
        if self.smtp is None:
            self.smtp = connect(settings)
            self.connected_version = settings.version
            stage_queue.clear(self.stage_id)
        return self.smtp

    def _transmit_and_record(self, smtp: smtplib.SMTP, taken: HandOver, settings: SmtpSettings) -> None:
        mail, notes = prepare(taken, settings)
        started = time.monotonic()
        try:
            done = transmit(smtp, mail)
        except ServerWentAway as gone:
            give_back(taken.message, self.owner)
            raise ConnectionTrouble("MAIL FROM", f"{settings} closed the session.", str(gone)) from gone
        if not record(taken.message, self.owner, done.outcomes, settings, time.monotonic() - started, notes):
            log.warning("lease_lost", message=taken.message.pk)
        if not done.connection_usable:
            self._disconnect()

    def _disconnect(self) -> None:
        if self.smtp is not None:
            try:
                self.smtp.quit()
            except (smtplib.SMTPException, OSError):
                self.smtp.close()
            self.smtp = None


def prepare(taken: HandOver, settings: SmtpSettings) -> tuple[Transmission, list[str]]:
    """The mail as it goes over the wire with these settings, and notes for the log on what was changed in it."""
    message = taken.message
    content = bytes(Content.objects.get(message=message).data)
    sender, notes = _sender(content, settings)
    departure = Departure(
        app_key=message.app.key,
        stage_key=message.stage.key,
        message_id=message.message_id,
        date=message.created,
        test_list=taken.test_people,
        subject_tag=message.stage.name if taken.tag_subject and taken.test_people is not None else "",
        sender=sender,
    )
    header, body = outgoing(content, departure)
    return Transmission(envelope_sender(message.envelope_sender, settings), taken.recipients, header, body), notes


def envelope_sender(requested: str, settings: SmtpSettings) -> str:
    """The app's own where its domain is allowed, else the stage's; the null sender stays null (RFC 5321 section 4.5.5)."""
    return requested if not requested or settings.allows_sender(requested) else settings.sender_address


def _sender(content: bytes, settings: SmtpSettings) -> tuple[NamedAddress | None, list[str]]:
    """Who has to stand in From in place of the app's own sender, if anybody, and the note that says so."""
    stage_sender = NamedAddress(settings.sender_address, settings.sender_name)
    fields, _ = split_header(content)
    senders = addresses_in(header_values(fields, b"from"))
    if not senders:
        return stage_sender, []
    refused = [sender.email for sender in senders if not settings.allows_sender(sender.email)]
    if not refused:
        return None, []
    note = (
        f"The app's sender {', '.join(refused)} isn't of a domain this stage allows, so the mail left as "
        f"{settings.sender_address}."
    )
    return stage_sender, [note]
