"""Delivering a stage's mail over one SMTP connection that carries many mails.

A session connects, then goes round: take mails from the ledger, say them to the server (transmission), report what it
said. What goes wrong before MAIL FROM is the stage's trouble (stage_queue) and counts on no mail; what the server says
to a mail or to a recipient is theirs (outcomes).
"""

from __future__ import annotations

import smtplib
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from emailconfig.connection import ConnectionTrouble, connect, cut
from emailconfig.models import SmtpSettings
from organization.addresses import NamedAddress
from outbox import claims, stage_queue
from outbox.content import Departure, addresses_in, header_values, outgoing, split_header
from outbox.hand_over import HandOver
from outbox.ledger import Ledger, Turn
from outbox.models import Content, HoldReason, Message
from outbox.outcomes import Finished, Outcome, hold
from outbox.transmission import Conversation, Offer, ServerWentAway, Transmission, refused

log = structlog.get_logger(__name__)

# How many mails a connection may have that were handed over and are not yet marked: what can arrive twice after a crash.
WINDOW = 2
# A server may take this long over one exchange, and in all at least so many bytes a second; then the connection is cut.
EXCHANGE_SECONDS = 300.0
SLOWEST_BYTES_PER_SECOND = 10_000
_UNPREPARED = "5.6.0 The mail's header can't be processed, so the mail was not sent."


@dataclass(frozen=True)
class _Mail:
    """A mail of this session that was handed over and offered to the server."""

    taken: HandOver
    offer: Offer
    notes: Sequence[str]
    started: float

    def finished(self, outcomes: Sequence[Outcome], settings: SmtpSettings) -> Finished:
        seconds = time.monotonic() - self.started
        taken = self.taken
        return Finished(taken.message.pk, taken.owner, taken.recipients, taken.complete, outcomes, settings, seconds, self.notes)


class Session:
    """Delivers one stage's due mail over one connection, until none is left, the connection ends, or `stopping` is set."""

    def __init__(self, stage_id: int, ledger: Ledger, stopping: threading.Event) -> None:
        self.stage_id, self.ledger, self.stopping = stage_id, ledger, stopping
        self.deadline: float | None = None
        self._smtp: smtplib.SMTP | None = None
        self._settings: SmtpSettings | None = None
        self._waiting: deque[HandOver] = deque()
        self._contents: dict[int, bytes] = {}
        self._current: _Mail | None = None  # its envelope was accepted, its content not yet sent
        self._following: _Mail | None = None  # being offered

    def run(self) -> None:
        settings = SmtpSettings.objects.filter(stage_id=self.stage_id).first()
        if settings is None:
            _hold_all(self.stage_id, self.ledger.owner)
            return
        try:
            while settings is not None:
                settings = self._deliver_with(settings)
        except ConnectionTrouble as trouble:
            self.ledger.leave(self.stage_id, self._broken())
            stage_queue.note_trouble(self.stage_id, trouble)
        except (smtplib.SMTPException, OSError) as error:
            log.info("connection_lost", stage=self.stage_id, error=str(error))
            self.ledger.leave(self.stage_id, self._broken())
        except Exception:
            self.ledger.leave(self.stage_id, self._broken())
            raise

    def cut_if_overdue(self, now: float) -> None:
        """For the worker's watch: end a connection whose server drips. The session then sees it broken."""
        if self.deadline is not None and now > self.deadline and self._smtp is not None:
            cut(self._smtp)

    def _deliver_with(self, settings: SmtpSettings) -> SmtpSettings | None:
        """Deliver over a connection made with `settings`. Returns newer ones when they were saved meanwhile."""
        self._settings = settings
        self._smtp = connect(settings)
        stage_queue.clear(self.stage_id)
        try:
            return self._go_round(Conversation(self._smtp), settings)
        finally:
            self.deadline = None
            _say_goodbye(self._smtp)

    def _go_round(self, conversation: Conversation, settings: SmtpSettings) -> SmtpSettings | None:
        finished: list[Finished] = []
        while True:
            turn = self._next_turn(finished)
            finished = []
            outdated = turn.settings is not None and turn.settings.version != settings.version
            if not outdated:
                self._following = self._offer_next(conversation, settings, finished)
            if self._current is not None or self._following is not None:
                self._exchange(conversation)
                finished += self._settled(settings)
            elif not finished:
                return turn.settings if outdated else None

    def _next_turn(self, finished: Sequence[Finished]) -> Turn:
        unmarked = len(self._waiting) + (self._current is not None)
        turn = self.ledger.exchange(self.stage_id, finished, 0 if self.stopping.is_set() else WINDOW - unmarked)
        self._waiting.extend(turn.taken)
        ours = [one.message.pk for one in turn.taken]
        self._contents.update({pk: turn.contents[pk] for pk in ours if pk in turn.contents})
        return turn

    def _offer_next(self, conversation: Conversation, settings: SmtpSettings, finished: list[Finished]) -> _Mail | None:
        """The next mail to offer. One that can't be sent at all is finished at once."""
        while self._waiting:
            taken = self._waiting[0]
            content = self._content_of(taken.message)
            try:
                mail, notes = prepare(taken, settings, content)
                reason = conversation.cant_carry(mail)
            except Exception:  # a header that breaks our own code breaks it each time: the next mails must go on
                log.exception("mail_cant_be_prepared", message=taken.message.pk)
                mail, notes, reason = Transmission("", taken.recipients, b"", b""), [], _UNPREPARED
            prepared = _Mail(taken, Offer(mail), notes, time.monotonic())
            self._waiting.popleft()
            if not reason:
                return prepared
            finished.append(prepared.finished(refused(mail, reason), settings))
        return None

    def _content_of(self, message: Message) -> bytes:
        found = self._contents.pop(message.pk, None)
        return bytes(Content.objects.get(message=message).data) if found is None else found

    def _exchange(self, conversation: Conversation) -> None:
        current, following = self._current, self._following
        size = current.offer.mail.size if current else 0
        self.deadline = time.monotonic() + EXCHANGE_SECONDS + size / SLOWEST_BYTES_PER_SECOND
        try:
            conversation.exchange(current.offer if current else None, following.offer if following else None)
        except ServerWentAway as gone:
            raise ConnectionTrouble("MAIL FROM", f"{self._settings} closed the session.", str(gone)) from gone
        except (smtplib.SMTPException, OSError) as error:
            if current is None and following is not None and not following.offer.answered:
                raise ConnectionTrouble("MAIL FROM", f"{self._settings} closed the session.", str(error)) from error
            raise

    def _settled(self, settings: SmtpSettings) -> list[Finished]:
        """What is finished after an exchange. A mail whose envelope was accepted is the current one now."""
        finished = []
        if self._current is not None:
            finished.append(self._current.finished(self._current.offer.outcomes, settings))
        if self._following is not None and not self._following.offer.wants_content:
            finished.append(self._following.finished(self._following.offer.outcomes, settings))
            self._following = None
        self._current, self._following = self._following, None
        return finished

    def _broken(self) -> list[Finished]:
        """What becomes of the mails of a connection that broke; those the server hadn't taken up go back to the queue."""
        finished = []
        if self._current is not None and self._settings is not None:
            offer = self._current.offer
            outcomes = offer.broken(content_sent=True) if offer.wants_content else offer.outcomes
            finished.append(self._current.finished(outcomes, self._settings))
        if self._following is not None and self._settings is not None:
            offer = self._following.offer
            outcomes = offer.broken(content_sent=False) if offer.answered else []
            finished.append(self._following.finished(outcomes, self._settings))
        return finished + [Finished(one.message.pk, one.owner, one.recipients, one.complete) for one in self._waiting]


def _hold_all(stage_id: int, owner: str) -> None:
    """A stage without settings has nowhere to send to."""
    while claimed := claims.claim(stage_id, owner, limit=100):
        for message in Message.objects.filter(pk__in=[one.message_id for one in claimed]):
            hold(message, HoldReason.STAGE_NOT_CONFIGURED)


def _say_goodbye(smtp: smtplib.SMTP) -> None:
    try:
        smtp.quit()
    except (smtplib.SMTPException, OSError):
        smtp.close()


def prepare(taken: HandOver, settings: SmtpSettings, content: bytes) -> tuple[Transmission, list[str]]:
    """The mail as it goes over the wire with these settings, and notes for the log on what was changed in it."""
    message = taken.message
    sender, notes = _sender(content, settings)
    departure = Departure(
        app_key=taken.app.key,
        stage_key=taken.stage.key,
        message_id=message.message_id,
        date=message.created,
        test_list=taken.test_people,
        subject_tag=taken.stage.name if taken.tag_subject and taken.test_people is not None else "",
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
    strangers = [sender.email for sender in senders if not settings.allows_sender(sender.email)]
    if not strangers:
        return None, []
    note = (
        f"The app's sender {', '.join(strangers)} isn't of a domain this stage allows, so the mail left as "
        f"{settings.sender_address}."
    )
    return stage_sender, [note]
