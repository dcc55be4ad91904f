"""Delivering a stage's mail over one SMTP connection that carries many mails.

A session connects, then goes round: take mails from the ledger, say them to the server (transmission), report what it
said. What goes wrong before MAIL FROM is the stage's trouble (stage_queue) and counts on no mail; what the server says
to a mail or to a recipient is theirs (outcomes).
"""

from __future__ import annotations

import math
import smtplib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from emailconfig.connection import ConnectionTrouble, SettingsDeleted, connect, cut, meaning_of
from emailconfig.models import SmtpSettings
from organization import sql
from organization.addresses import has_wire_form
from organization.installation import installation_id, portal_host, portal_url
from outbox import stage_queue
from outbox.clock import uptime
from outbox.content import split_header
from outbox.hand_over import HandOver
from outbox.headers import Departure, envelope_sender, outgoing
from outbox.ledger import Ledger, LedgerClosed, Turn
from outbox.masking import masked_words
from outbox.outcomes import Finished, Outcome
from outbox.received import Hop
from outbox.transmission import (
    FINAL_REPLY_SECONDS,
    Conversation,
    Offer,
    ServerWentAway,
    Transmission,
    asks_to_slow_down,
    refused,
)

log = structlog.get_logger(__name__)

# How many mails a connection may have whose content was sent and that are not yet marked: what can arrive twice after a crash.
TWICE_AT_MOST = 2
# How many it may have that were handed over and are not yet marked: one more, whose envelope is offered meanwhile.
WINDOW = TWICE_AT_MOST + 1
# A server that takes longer over a mail is far: what it said is written down while the next mail is on its way.
_FAR_SECONDS = 0.005
# A server may take this long over one exchange, and in all at least so many bytes a second; then the connection is cut.
EXCHANGE_SECONDS = 2 * FINAL_REPLY_SECONDS
SLOWEST_BYTES_PER_SECOND = 10_000
GOODBYE_SECONDS = 5.0
# A connection that waits for the stage's limit looks after this long whether something has changed.
_LONGEST_WAIT_SECONDS = 1.0
# Large mails are read in pieces of this size.
_PIECE_BYTES = 1024 * 1024
_NO_ADDRESS = "5.1.3 This isn't an address, so nothing was sent to it."
_UNPREPARED = "5.6.0 The mail's header can't be processed, so the mail was not sent."


class LeaseLost(Exception):
    """A mail of this connection isn't ours any more: not one more byte of it may leave."""


@dataclass(frozen=True)
class _Mail:
    """A mail of this session that was handed over and offered to the server."""

    taken: HandOver
    offer: Offer
    notes: Sequence[str]
    started: float

    def finished(self, outcomes: Sequence[Outcome], settings: SmtpSettings) -> Finished:
        return Finished(self.taken, outcomes, settings, uptime() - self.started, self.notes)


class Session:
    """Delivers one stage's due mail over one connection, until none is left, the connection ends, or `stopping` is set."""

    def __init__(self, stage_id: int, ledger: Ledger, stopping: threading.Event) -> None:
        self.stage_id, self.ledger, self.stopping = stage_id, ledger, stopping
        self._smtp: smtplib.SMTP | None = None
        self._conversation: Conversation | None = None
        self._settings: SmtpSettings | None = None
        self._deadline = math.inf
        self._in_hand: tuple[HandOver, ...] = ()  # may still be sent, or are being
        self._waiting: deque[HandOver] = deque()
        self._current: _Mail | None = None  # its envelope was accepted, its content not yet sent
        self._following: _Mail | None = None  # being offered
        self._finished: list[Finished] = []  # not yet reported
        self._reported: list[Finished] = []  # the ledger hasn't answered yet
        self._answer: Callable[[], Turn] | None = None  # what it will answer
        self._trouble_is_over = False  # for the stage, as soon as the server decides about a mail
        self._far = False  # whether the server is, see _FAR_SECONDS
        self._decided = 0  # mails that it has decided about on this connection
        self._slower: ConnectionTrouble | None = None  # it asks for fewer mails

    def run(self) -> None:
        # From the ledger: a session has no connection to the database of its own, unless something goes wrong.
        settings = self.ledger.exchange(self.stage_id, (), 0).settings
        try:
            while settings is not None:
                settings = self._deliver_with(settings)
        except LeaseLost:
            log.error("lease_lost", stage=self.stage_id)
            self._report_broken()  # of those that are still ours
        except ConnectionTrouble as trouble:
            self._report_broken()
            stage_queue.note_trouble(self.stage_id, trouble)
        except (smtplib.SMTPException, OSError) as error:
            log.info("connection_lost", stage=self.stage_id, error=masked_words(str(error), self._addresses_in_hand()))
            self._report_broken()
        except (SettingsDeleted, LedgerClosed):  # the next look holds the stage's mail; or nobody looks any more
            self._report_broken()
        except Exception:
            self._report_broken()
            raise

    def _addresses_in_hand(self) -> list[str]:
        return [recipient.address for mail in self._in_hand for recipient in mail.recipients]

    def cut_if_overdue(self) -> None:
        """For the worker's watch: end a connection whose server drips, or whose mails aren't ours any more."""
        smtp, conversation, lost = self._smtp, self._conversation, self._lost()
        deadline = min(self._deadline, conversation.reply_due if conversation else math.inf)
        # Looked at twice: what was reported in between isn't in hand any more, and its lease is over for a good reason.
        if smtp is not None and (uptime() > deadline or any(mail in self._in_hand for mail in lost)):
            cut(smtp)

    def _lost(self) -> list[HandOver]:
        """Mails in hand that aren't ours any more."""
        return [mail for mail in self._in_hand if not self.ledger.is_ours(mail)]

    def _deliver_with(self, settings: SmtpSettings) -> SmtpSettings | None:
        """Deliver over a connection made with `settings`. Returns newer ones when they were saved meanwhile."""
        self._settings, self._decided = settings, 0
        self._smtp = connect(settings)
        self._conversation = Conversation(self._smtp, self._permit)
        newer = self._go_round(self._conversation, settings)
        self._say_goodbye(self._smtp)
        if self._slower:
            raise self._slower
        return newer

    def _permit(self) -> None:
        if self._lost():
            raise LeaseLost

    def _go_round(self, conversation: Conversation, settings: SmtpSettings) -> SmtpSettings | None:
        self._report(WINDOW)
        while True:
            turn = self._take()
            outdated = turn.settings is None or turn.settings.version != settings.version
            if self._is_through(outdated):
                if not self._waits_its_turn(turn, outdated):
                    self._give_back()
                    return turn.settings if outdated else None
                self.stopping.wait(min(turn.pause, _LONGEST_WAIT_SECONDS))
            if self._far:
                self._report(0 if outdated else self._room)
                self._send_next(conversation, settings, outdated)
            else:  # sending takes less than a report: two share one
                while len(self._finished) < TWICE_AT_MOST and self._send_next(conversation, settings, outdated):
                    pass
                self._report(0 if outdated else self._room)

    def _send_next(self, conversation: Conversation, settings: SmtpSettings, outdated: bool) -> bool:
        """Send the mail whose envelope was accepted, and offer another. False when there is neither."""
        if not outdated and not self._slower:
            self._following = self._offer_next(conversation, settings)
        if self._current is None and self._following is None:
            return False
        began = uptime()
        self._exchange(conversation)
        self._far = uptime() > began + _FAR_SECONDS
        self._settle(settings)
        return True

    def _is_through(self, outdated: bool) -> bool:
        """Whether nothing is left to send over this connection, nor to report."""
        nothing_to_offer = not self._waiting or outdated or self._slower is not None
        return nothing_to_offer and self._current is None and not self._finished

    def _waits_its_turn(self, turn: Turn, outdated: bool) -> bool:
        """Whether it is only the stage's limit that leaves nothing to send: the connection is kept for the next mail."""
        return turn.pause > 0 and not outdated and not self._slower and not self.stopping.is_set()

    @property
    def _room(self) -> int:
        """How many mails more the window has room for."""
        if self.stopping.is_set() or self._slower:
            return 0
        return WINDOW - len(self._waiting) - (self._current is not None)

    def _report(self, room: int) -> None:
        """Give the ledger what is finished, and ask for the next mails, without waiting for its answer."""
        done = {one.taken.hold for one in self._finished}
        self._in_hand = tuple(mail for mail in self._in_hand if mail.hold not in done)
        self._reported, self._finished = self._finished, []
        self._answer = self.ledger.report(self.stage_id, self._reported, room)

    def _take(self) -> Turn:
        """Wait until what was reported is marked, and take the mails that were asked for with it."""
        assert self._answer is not None
        answer, self._answer = self._answer, None
        turn = answer()
        self._reported = []
        self._in_hand += tuple(turn.taken)
        self._waiting.extend(turn.taken)
        self._trouble_is_over = turn.trouble_is_over
        return turn

    def _offer_next(self, conversation: Conversation, settings: SmtpSettings) -> _Mail | None:
        """The next mail to offer. One that can't be sent at all is finished at once."""
        while self._waiting:
            taken = self._waiting[0]
            usable = [one for one in taken.recipients if has_wire_form(one.address)]
            try:
                mail, notes = prepare(taken._replace(recipients=usable), settings)
                reason = conversation.cant_carry(mail)
            except (DatabaseError, InterfaceError):
                raise
            except Exception:  # a header that breaks our own code breaks it each time: the next mails must go on
                log.exception("mail_cant_be_prepared", message=taken.pk)
                mail, notes, reason = Transmission("", usable, (), 0), [], _UNPREPARED
            unusable = refused([one for one in taken.recipients if one not in usable], _NO_ADDRESS)
            prepared = _Mail(taken, Offer(mail, outcomes=unusable), notes, uptime())
            self._waiting.popleft()
            if not reason and usable:
                return prepared
            self._finished.append(prepared.finished([*unusable, *refused(usable, reason)], settings))
        return None

    def _exchange(self, conversation: Conversation) -> None:
        current, following = self._current, self._following
        size = current.offer.mail.size if current else 0
        self._deadline = uptime() + EXCHANGE_SECONDS + size / SLOWEST_BYTES_PER_SECOND
        try:
            conversation.exchange(current.offer if current else None, following.offer if following else None)
        except ServerWentAway as gone:
            raise self._closed(gone) from gone
        except (smtplib.SMTPException, OSError) as error:
            if current is None and following is not None and not following.offer.answered:
                raise self._closed(error) from error
            raise
        finally:
            self._deadline = math.inf

    def _closed(self, error: Exception) -> Exception:
        """The server ended the session before it took up a mail. After others that is a limit of mails per connection, and
        the next connection goes on; at the first it is trouble."""
        if self._decided:
            return smtplib.SMTPServerDisconnected(str(error))
        code = meaning_of("MAIL FROM", str(error)) if isinstance(error, ServerWentAway) else "session_closed"
        return ConnectionTrouble("MAIL FROM", code, str(error), recipients=tuple(self._addresses_in_hand()))

    def _settle(self, settings: SmtpSettings) -> None:
        """What is finished after an exchange. A mail whose envelope was accepted is the current one now."""
        if self._current is not None:
            self._finish(self._current, settings)
        if self._following is not None and not self._following.offer.wants_content:
            self._finish(self._following, settings)
            self._following = None
        self._current, self._following = self._following, None

    def _finish(self, mail: _Mail, settings: SmtpSettings) -> None:
        outcomes = mail.offer.outcomes
        self._finished.append(mail.finished(outcomes, settings))
        if slower := next(filter(asks_to_slow_down, outcomes), None):
            recipients = tuple(outcome.recipient.address for outcome in outcomes)
            self._slower = ConnectionTrouble(slower.step, "throttled", slower.reply, recipients=recipients)
        elif self._trouble_is_over:  # only now: a server may greet everybody and then turn each mail away
            stage_queue.clear(self.stage_id)
            self._trouble_is_over = False
        self._decided += 1

    def _give_back(self) -> None:
        """What was taken and not offered goes back to the queue: other settings hold for it now, or the worker stops."""
        if self._waiting:
            self.ledger.exchange(self.stage_id, [Finished(mail) for mail in self._waiting], 0)
            self._waiting.clear()
            self._in_hand = ()

    def _report_broken(self) -> None:
        self._hang_up()
        if self._answer is not None:
            with suppress(Exception):  # then it is reported once more
                self._take()
        try:
            self.ledger.exchange(self.stage_id, self._broken(), 0)
        except LedgerClosed:
            log.warning("session_outlived_its_worker", stage=self.stage_id)

    def _broken(self) -> list[Finished]:
        """What becomes of the mails of a connection that broke; those the server hadn't taken up go back to the queue."""
        finished = [*self._reported, *self._finished]
        if self._current is not None and self._settings is not None:
            offer = self._current.offer
            outcomes = offer.broken(content_sent=True) if offer.wants_content else offer.outcomes
            finished.append(self._current.finished(outcomes, self._settings))
        if self._following is not None and self._settings is not None:
            offer = self._following.offer
            if offer.answered:
                finished.append(self._following.finished(offer.broken(content_sent=False), self._settings))
            else:
                finished.append(Finished(self._following.taken, goes_behind=True))
        return finished + [Finished(mail) for mail in self._waiting]

    def _say_goodbye(self, smtp: smtplib.SMTP) -> None:
        self._deadline = uptime() + GOODBYE_SECONDS
        with suppress(smtplib.SMTPException, OSError):
            smtp.quit()
        self._deadline = math.inf
        self._hang_up()

    def _hang_up(self) -> None:
        if self._smtp is not None:
            self._smtp.close()


def prepare(taken: HandOver, settings: SmtpSettings) -> tuple[Transmission, list[str]]:
    """The mail as it goes over the wire with these settings, and notes for the log on what was changed in it."""
    start = _start_of(taken)
    fields, body = split_header(start)
    header, notes = outgoing(fields, _departure(taken), settings)
    rest = taken.size - len(start)
    transmission = Transmission(
        envelope_sender(taken.envelope_sender, settings, is_test_mail=taken.test_people is not None),
        taken.recipients,
        _parts(header, body, taken.pk, len(start), taken.size) if rest else (header, body),
        size=len(header) + len(body) + rest,
        eight_bit=rest > 0 or not (header.isascii() and body.isascii()),
        header_is_ascii=header.isascii(),
    )
    return transmission, notes


def _departure(taken: HandOver) -> Departure:
    """What decides the header, beside the settings."""
    hop = Hop(taken.app_key, taken.stage_key, taken.via, installation_id(), portal_host(), taken.pk, taken.created)
    return Departure(
        hop,
        taken.message_id,
        test_list=taken.test_people,
        kept_headers=taken.kept_headers,
        subject_tag=taken.subject_tag,
        log_url="" if taken.test_people is None else portal_url("email-log-message", taken.stage_key, taken.pk),
    )


def _start_of(taken: HandOver) -> bytes:
    """All of a small mail; of a large one as much as holds the whole header."""
    if taken.content is not None:
        return taken.content
    start = b""
    while len(start) < taken.size and b"\r\n\r\n" not in start:
        start += _piece(taken.pk, len(start))
    return start


def _parts(header: bytes, body: bytes, message_id: int, read: int, size: int) -> Iterator[bytes]:
    """A large mail for the wire, with never more than a piece of it in memory."""
    yield header
    yield body
    for offset in range(read, size, _PIECE_BYTES):
        yield _piece(message_id, offset)


def _piece(message_id: int, offset: int) -> bytes:
    statement = "SELECT substr(data, %s, %s) FROM outbox_content WHERE message_id = %s"
    try:
        rows = sql.fetch(statement, offset + 1, _PIECE_BYTES, message_id)
    except (OperationalError, InterfaceError):  # the database was restarted since this thread last asked it
        connection.close()
        rows = sql.fetch(statement, offset + 1, _PIECE_BYTES, message_id)
    return bytes(rows[0][0])
