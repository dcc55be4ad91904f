"""Delivering a stage's mail over one SMTP connection that carries many mails.

A session connects, then goes round: take mails from the ledger into its window, say them to the server (smtp_dialogue),
report what it said. What goes wrong before MAIL FROM is the stage's trouble (backoff) and counts on no mail; what the server
says to a mail or to a recipient is theirs (outcomes).
"""

from __future__ import annotations

import math
import smtplib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog
from django.db import DatabaseError, InterfaceError

from common.addresses import has_wire_form
from common.clock import uptime
from delivery import backoff
from delivery.config import DeliveryConfig
from delivery.coordinator import Ledger, Report
from delivery.exceptions import LeaseLost, LedgerClosed, ServerWentAway
from delivery.outgoing import prepare, whole
from delivery.second_try import second_try
from delivery.smtp_dialogue import Conversation, Offer, Transmission, asks_to_slow_down, puts_off, refused
from delivery.values import Finished, HandOver, Outcome, Silence, Turn
from delivery.window import OfferedMessage, Window
from emailconfig.connection import ConnectionTrouble, connect, cut, meaning_of
from emailconfig.exceptions import SettingsDeleted
from emailconfig.models import SmtpSettings
from outbox.masking import masked_words

log = structlog.get_logger(__name__)

# A server that takes longer over a mail is far: what it said is written down while the next mail is on its way.
_FAR_SECONDS = 0.005
# A connection that waits for the stage's limit looks after this long whether something has changed.
_LONGEST_WAIT_SECONDS = 1.0
_NO_ADDRESS = "5.1.3 This isn't an address, so nothing was sent to it."
_UNPREPARED = "5.6.0 The mail's header can't be processed, so the mail was not sent."


class Session:
    """Delivers one stage's due mail over one connection, until none is left, the connection ends, or `stopping` is set."""

    def __init__(self, stage_id: int, ledger: Ledger, stopping: threading.Event, config: DeliveryConfig) -> None:
        self.stage_id, self.ledger, self.stopping, self._config = stage_id, ledger, stopping, config
        self._window = Window(config.claims_per_connection)
        self._smtp: smtplib.SMTP | None = None
        self._conversation: Conversation | None = None
        self._settings: SmtpSettings | None = None
        self._deadline = math.inf
        self._answer: Report | None = None  # to what was reported; not read yet
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
        return [recipient.address for mail in self._window.claimed for recipient in mail.recipients]

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
        conversation, mail = self._conversation, self._window.asked_about
        if not self._waits_for_server or conversation is None or mail is None:
            return None
        since = conversation.last_sign
        return Silence(mail.message.pk, since) if uptime() > since + self._config.silent_seconds else None

    def _let_go(self) -> None:
        """While the server hangs over one mail: report the others that are finished, and give back those that it wasn't given.

        A mail whose envelope it was offered meanwhile goes too, which ends the connection (see _exchange). With one connection
        alone, no other could send them.
        """
        if self._settings is None:
            return
        others_can = self._settings.connections > 1
        finished = self._window.let_go(unsent=others_can)
        if others_can and self._answer:
            finished += [Finished(mail) for mail in self._answer.take_back()]
        if finished:
            self.ledger.report(self.stage_id, finished, 0)

    def _cut_if_overdue(self) -> None:
        """End a connection whose server drips, or whose mails aren't ours any more."""
        smtp, conversation, lost = self._smtp, self._conversation, self._lost()
        deadline = min(self._deadline, conversation.reply_due if conversation else math.inf)
        # Looked at twice: what was reported in between isn't claimed any more, and its lease is over for a good reason.
        if smtp is not None and (uptime() > deadline or any(mail in self._window.claimed for mail in lost)):
            cut(smtp)

    def _lost(self) -> list[HandOver]:
        """Claimed mails that aren't ours any more."""
        return [mail for mail in self._window.claimed if not self.ledger.is_ours(mail)]

    def _deliver_with(self, settings: SmtpSettings) -> SmtpSettings | None:
        """Deliver over a connection made with `settings`. Returns newer ones when they were saved meanwhile."""
        self._settings, self._decided = settings, 0
        self._smtp = connect(settings)
        self._conversation = Conversation(self._smtp, self._permit, uptime, self._config)
        newer = self._go_round(self._conversation, settings)
        self._say_goodbye(self._smtp)
        if self._slower:
            raise self._slower
        return newer

    def _permit(self) -> None:
        if self._lost():
            raise LeaseLost

    def _go_round(self, conversation: Conversation, settings: SmtpSettings) -> SmtpSettings | None:
        self._report(self._window.room)
        while True:
            turn = self._take()
            outdated = turn.settings is None or turn.settings.version != settings.version
            if self._is_through(outdated):
                if not self._waits_its_turn(turn, outdated):
                    self._give_back()
                    return turn.settings if outdated else None
                self.stopping.wait(min(turn.pause, _LONGEST_WAIT_SECONDS))
            if self._far and self._config.window > 1:
                self._report(0 if outdated else self._room)
                self._send_next(conversation, settings, outdated)
            else:  # sending takes less than a report: as many as the window allows share one
                while len(self._window.to_report) < self._config.window and self._send_next(conversation, settings, outdated):
                    pass
                self._report(0 if outdated else self._room)

    def _send_next(self, conversation: Conversation, settings: SmtpSettings, outdated: bool) -> bool:
        """Send the mail whose envelope was accepted, and offer another. False when there is neither."""
        if not outdated and not self._slower:
            self._window.next_offer(lambda message: self._prepared(message, conversation, settings))
        if self._window.sending is None and self._window.offered is None:
            return False
        began = uptime()
        self._exchange(conversation)
        self._far = uptime() > began + _FAR_SECONDS
        self._window.settle(self._conclude)
        return True

    def _is_through(self, outdated: bool) -> bool:
        """Whether nothing is left to send over this connection, nor to report."""
        nothing_to_offer = not self._window.has_unoffered or outdated or self._slower is not None
        return nothing_to_offer and self._window.is_settled

    def _waits_its_turn(self, turn: Turn, outdated: bool) -> bool:
        """Whether it is only the stage's limit that leaves nothing to send: the connection is kept for the next mail."""
        return turn.pause > 0 and not outdated and not self._slower and not self.stopping.is_set()

    @property
    def _room(self) -> int:
        """How many mails more to ask for."""
        return 0 if self.stopping.is_set() or self._slower else self._window.room

    def _report(self, room: int) -> None:
        """Give the ledger what is finished, and ask for the next mails, without waiting for its answer."""
        self._answer = self.ledger.report(self.stage_id, self._window.report(), room)

    def _take(self) -> Turn:
        """Wait until what was reported is recorded, and take the mails that were asked for with it."""
        assert self._answer is not None
        answer, self._answer = self._answer, None
        turn = answer.turn()
        self._window.take(turn.taken)
        self._trouble_is_over = turn.trouble_is_over
        return turn

    def _prepared(self, message: HandOver, conversation: Conversation, settings: SmtpSettings) -> OfferedMessage | Finished:
        """The mail as it is to be offered. One that can't be sent at all is finished at once."""
        usable = [recipient for recipient in message.recipients if has_wire_form(recipient.address)]
        try:
            mail, notes = prepare(message._replace(recipients=usable), settings)
            reason = conversation.cant_carry(mail)
        except (DatabaseError, InterfaceError):
            raise
        except Exception:  # a header that breaks our own code breaks it each time: the next mails must go on
            log.exception("mail_cant_be_prepared", message=message.pk)
            mail, notes, reason = Transmission("", usable, (), 0), [], _UNPREPARED
        unusable = refused([recipient for recipient in message.recipients if recipient not in usable], _NO_ADDRESS)
        prepared = OfferedMessage(message, Offer(mail, outcomes=unusable), settings, notes, uptime())
        if reason or not usable:
            return prepared.finished([*unusable, *refused(usable, reason)], uptime())
        return prepared

    def _exchange(self, conversation: Conversation) -> None:
        sending, offered = self._window.sending, self._window.offered
        size = sending.offer.mail.size if sending else 0
        self._deadline = uptime() + self._config.exchange_seconds + size / self._config.slowest_bytes_per_second
        try:
            with self._waiting_for_server():
                conversation.exchange(sending.offer if sending else None, offered.offer if offered else None)
            if offered is not self._window.offered:
                raise smtplib.SMTPServerDisconnected("The server was silent, so its next mail was given to another connection.")
        except ServerWentAway as gone:
            raise self._closed(gone) from gone
        except (smtplib.SMTPException, OSError) as error:
            if sending is None and offered is not None and not offered.offer.answered:
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

    def _conclude(self, mail: OfferedMessage) -> Finished:
        """What became of a mail that the server has decided about."""
        message = mail.message
        outcomes, most_recipients, short_lines = second_try(
            mail.offer, short_lines=message.short_lines, content=lambda: whole(message)
        )
        finished = mail.finished(outcomes, uptime())
        self._decided += 1
        if self._puts_everybody_off(mail, outcomes):
            return Finished(message, goes_behind=True)
        if slower := next(filter(asks_to_slow_down, outcomes), None):
            self._slower = _trouble_of(slower, "throttled", outcomes)
        elif self._trouble_is_over and not puts_off(outcomes):
            # Only now: a server may greet everybody and then turn each mail away.
            self._trouble_is_over = not backoff.try_clear(self.stage_id)
        return finished._replace(most_recipients=most_recipients, short_lines=short_lines)

    def _puts_everybody_off(self, mail: OfferedMessage, outcomes: Sequence[Outcome]) -> bool:
        """Whether the server puts this mail off as it did those before: that is its trouble then, and counts on no mail."""
        said = puts_off(outcomes)
        if said is None or asks_to_slow_down(said):
            return False
        self._trouble_is_over = True  # as soon as it takes one
        if not backoff.note_deferral(self.stage_id, first_try=not any(recipient.tries for recipient in mail.message.recipients)):
            return False
        self._slower = _trouble_of(said, "puts_everybody_off", outcomes)
        return True

    def _give_back(self) -> None:
        """What was taken and not offered goes back to the queue: other settings hold for it now, or the worker stops."""
        if self._window.has_unoffered:
            self._window.give_back()
            self._report(0)
            self._take()

    def _report_broken(self) -> None:
        self._hang_up()
        if self._answer is not None:
            with suppress(Exception):  # then it is reported once more
                self._take()
        try:
            self.ledger.exchange(self.stage_id, self._window.unfinished(self._conclude_broken), 0)
        except LedgerClosed:
            log.warning("session_outlived_its_worker", stage=self.stage_id)

    def _conclude_broken(self, mail: OfferedMessage, outcomes: Sequence[Outcome]) -> Finished:
        if self._puts_everybody_off(mail, outcomes):
            return Finished(mail.message, goes_behind=True)
        return mail.finished(outcomes, uptime())

    def _say_goodbye(self, smtp: smtplib.SMTP) -> None:
        self._deadline = uptime() + self._config.goodbye_seconds
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
