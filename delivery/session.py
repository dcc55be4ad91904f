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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from common import sql
from common.addresses import has_wire_form
from common.clock import uptime
from delivery import backoff
from delivery.coordinator import Ledger, LedgerClosed, Report, Turn
from delivery.long_lines import with_short_lines
from delivery.second_try import SecondTry, second_try
from delivery.smtp_dialogue import (
    FINAL_REPLY_SECONDS,
    Conversation,
    Offer,
    ServerWentAway,
    Transmission,
    asks_to_slow_down,
    puts_off,
    refused,
)
from delivery.values import Finished, HandOver, Outcome
from emailconfig.connection import ConnectionTrouble, SettingsDeleted, connect, cut, meaning_of
from emailconfig.models import SmtpSettings
from organization.installation import installation_id, portal_host, portal_url
from outbox.content import split_header
from outbox.headers import Departure, envelope_sender, outgoing
from outbox.masking import masked_words
from outbox.received import Hop

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
# A server that says nothing for so long over a mail hangs: other mails don't wait for it.
SILENT_SECONDS = 5.0
# A connection that waits for the stage's limit looks after this long whether something has changed.
_LONGEST_WAIT_SECONDS = 1.0
# Large mails are read in pieces of this size.
_PIECE_BYTES = 1024 * 1024
_NO_ADDRESS = "5.1.3 This isn't an address, so nothing was sent to it."
_SHORTENED = "The server refused lines of more than 998 bytes, so the email's long parts left re-encoded."
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

    def second_try(self) -> SecondTry:
        return second_try(self.offer, short_lines=self.taken.short_lines, content=lambda: _whole(self.taken))


class Silence(NamedTuple):
    """The server doesn't answer: about which mail, and since when, by uptime()."""

    message: int
    since: float


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
        self._answer: Report | None = None  # what it will answer
        self._trouble_is_over = False  # for the stage, as soon as the server decides about a mail
        self._far = False  # whether the server is, see _FAR_SECONDS
        self._decided = 0  # mails that it has decided about on this connection
        self._slower: ConnectionTrouble | None = None  # it asks for fewer mails, or takes none
        self._lock = threading.Lock()  # taken by the watch while the session waits for the server
        self._waits_for_server = False
        self.silence: Silence | None = None

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
            backoff.note_trouble(self.stage_id, trouble)
        except (smtplib.SMTPException, OSError) as error:
            log.info("connection_lost", stage=self.stage_id, error=masked_words(str(error), self._addresses_in_hand()))
            self._report_broken()
            if self._slower:
                backoff.note_trouble(self.stage_id, self._slower)
        except (SettingsDeleted, LedgerClosed):  # the next look holds the stage's mail; or nobody looks any more
            self._report_broken()
        except Exception:
            self._report_broken()
            raise

    def _addresses_in_hand(self) -> list[str]:
        return [recipient.address for mail in self._in_hand for recipient in mail.recipients]

    def watch(self) -> None:
        """For the worker's watch: see that a server which hangs holds up as little as possible, and not for ever."""
        self._cut_if_overdue()
        with self._lock:
            silence = self._silence_now()
            if silence is not None:
                if self.silence is None:
                    log.warning("server_hangs", stage=self.stage_id, message=silence.message)
                self._let_go()
            elif self.silence is not None:
                log.info("server_answers_again", stage=self.stage_id, message=self.silence.message)
            self.silence = silence

    def _silence_now(self) -> Silence | None:
        conversation, mail = self._conversation, self._asked_about()
        if not self._waits_for_server or conversation is None or mail is None:
            return None
        since = conversation.last_sign
        return Silence(mail.taken.pk, since) if uptime() > since + SILENT_SECONDS else None

    def _asked_about(self) -> _Mail | None:
        """The mail that the server's next answer is about."""
        if self._current is not None and self._current.offer.wants_content:
            return self._current
        return self._following

    def _let_go(self) -> None:
        """While the server hangs over one mail: report the others that are finished, and give back those that it wasn't given.

        A mail whose envelope it was offered meanwhile goes too. Its content must not be sent any more, so that ends the
        connection (see _exchange). With one connection alone, no other could send them.
        """
        if self._settings is None:
            return
        finished, self._finished = self._finished, []
        given_back: list[HandOver] = []
        if self._settings.connections > 1:
            given_back = [*self._waiting, *(self._answer.take_back() if self._answer else ())]
            self._waiting.clear()
            if self._following is not None and self._asked_about() is self._current:
                given_back.append(self._following.taken)
                self._following = None
        if finished or given_back:
            gone = {mail.hold for mail in (*given_back, *(one.taken for one in finished))}
            self._in_hand = tuple(mail for mail in self._in_hand if mail.hold not in gone)
            self.ledger.report(self.stage_id, [*finished, *(Finished(mail) for mail in given_back)], 0)

    def _cut_if_overdue(self) -> None:
        """End a connection whose server drips, or whose mails aren't ours any more."""
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
        turn = answer.turn()
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
            with self._waiting_for_server():
                conversation.exchange(current.offer if current else None, following.offer if following else None)
            if following is not self._following:
                raise smtplib.SMTPServerDisconnected("The server was silent, so its next mail was given to another connection.")
        except ServerWentAway as gone:
            raise self._closed(gone) from gone
        except (smtplib.SMTPException, OSError) as error:
            if current is None and following is not None and not following.offer.answered:
                raise self._closed(error) from error
            raise
        finally:
            self._deadline = math.inf

    @contextmanager
    def _waiting_for_server(self) -> Iterator[None]:
        """Meanwhile the watch may take mails away from the session."""
        self._waits_for_server = True
        try:
            yield
        finally:
            with self._lock:
                self._waits_for_server = False

    def _closed(self, error: Exception) -> Exception:
        """The server ended the session before it took up a mail. After others that is a limit of mails per connection, and
        the next connection goes on; at the first it is trouble, and so is a complaint about our greeting."""
        step, code = "MAIL FROM", "session_closed"
        if isinstance(error, ServerWentAway):
            step, code = error.step, meaning_of(error.step, error.reply)
        if self._decided and code != "hello_refused":
            return smtplib.SMTPServerDisconnected(str(error))
        return ConnectionTrouble(step, code, str(error), recipients=tuple(self._addresses_in_hand()))

    def _settle(self, settings: SmtpSettings) -> None:
        """What is finished after an exchange. A mail whose envelope was accepted is the current one now."""
        if self._current is not None:
            self._finish(self._current, settings)
        if self._following is not None and not self._following.offer.wants_content:
            self._finish(self._following, settings)
            self._following = None
        self._current, self._following = self._following, None

    def _finish(self, mail: _Mail, settings: SmtpSettings) -> None:
        outcomes, most_recipients, short_lines = mail.second_try()
        finished = mail.finished(outcomes, settings)._replace(most_recipients=most_recipients, short_lines=short_lines)
        self._decided += 1
        if self._puts_everybody_off(mail, outcomes):
            finished = Finished(mail.taken, goes_behind=True)
        elif slower := next(filter(asks_to_slow_down, outcomes), None):
            self._slower = _trouble_of(slower, "throttled", outcomes)
        elif self._trouble_is_over and not puts_off(outcomes):
            # Only now: a server may greet everybody and then turn each mail away.
            self._trouble_is_over = not backoff.try_clear(self.stage_id)
        self._finished.append(finished)

    def _puts_everybody_off(self, mail: _Mail, outcomes: Sequence[Outcome]) -> bool:
        """Whether the server puts this mail off as it did those before: that is its trouble then, and counts on no mail."""
        said = puts_off(outcomes)
        if said is None or asks_to_slow_down(said):
            return False
        self._trouble_is_over = True  # as soon as it takes one
        if not backoff.note_deferral(self.stage_id, first_try=not any(one.tries for one in mail.taken.recipients)):
            return False
        self._slower = _trouble_of(said, "puts_everybody_off", outcomes)
        return True

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
            finished.append(self._broken_off(self._current, outcomes, self._settings))
        if self._following is not None and self._settings is not None:
            offer = self._following.offer
            if offer.answered:
                finished.append(self._broken_off(self._following, offer.broken(content_sent=False), self._settings))
            else:
                finished.append(Finished(self._following.taken, goes_behind=True))
        return finished + [Finished(mail) for mail in self._waiting]

    def _broken_off(self, mail: _Mail, outcomes: Sequence[Outcome], settings: SmtpSettings) -> Finished:
        if self._puts_everybody_off(mail, outcomes):
            return Finished(mail.taken, goes_behind=True)
        return mail.finished(outcomes, settings)

    def _say_goodbye(self, smtp: smtplib.SMTP) -> None:
        self._deadline = uptime() + GOODBYE_SECONDS
        with suppress(smtplib.SMTPException, OSError):
            smtp.quit()
        self._deadline = math.inf
        self._hang_up()

    def _hang_up(self) -> None:
        if self._smtp is not None:
            self._smtp.close()


def _trouble_of(outcome: Outcome, code: str, outcomes: Sequence[Outcome]) -> ConnectionTrouble:
    """What the server said of one mail, as trouble of the stage. It may name the mail's recipients."""
    recipients = tuple(one.recipient.address for one in outcomes)
    return ConnectionTrouble(outcome.step, code, outcome.reply, recipients=recipients)


def prepare(taken: HandOver, settings: SmtpSettings) -> tuple[Transmission, list[str]]:
    """The mail as it goes over the wire with these settings, and notes for the log on what was changed in it."""
    start = with_short_lines(_whole(taken)) if taken.short_lines else _start_of(taken)
    fields, body = split_header(start)
    header, notes = outgoing(fields, _departure(taken), settings)
    rest = 0 if taken.short_lines else taken.size - len(start)
    transmission = Transmission(
        envelope_sender(taken.envelope_sender, settings, is_test_mail=taken.test_people is not None),
        taken.recipients,
        _parts(header, body, taken.pk, len(start), taken.size) if rest else (header, body),
        size=len(header) + len(body) + rest,
        eight_bit=rest > 0 or not (header.isascii() and body.isascii()),
    )
    return transmission, [*notes, _SHORTENED] if taken.short_lines else notes


def _whole(taken: HandOver) -> bytes:
    if taken.content is not None:
        return taken.content
    return b"".join(_piece(taken.pk, offset) for offset in range(0, taken.size, _PIECE_BYTES))


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
