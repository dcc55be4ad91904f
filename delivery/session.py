"""Deliver a stage's messages over one SMTP connection.

A session connects, then repeats three steps: it takes messages from the coordinator into its window, sends them to the server
(smtp_dialogue), and reports the replies. A failure before MAIL FROM is the stage's (backoff), and counts as a try of no
message. A reply to a message or a recipient is theirs (outcomes).
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
from common.clock import boottime
from delivery import backoff
from delivery.config import DeliveryConfig
from delivery.coordinator import Coordinator, Report
from delivery.exceptions import CoordinatorClosed, LeaseLost, ServerWentAway
from delivery.values import Batch, ClaimedMessage, MessageResult, Outcome, Silence
from delivery.wire.outgoing import prepare, whole
from delivery.wire.second_try import second_try
from delivery.wire.smtp_dialogue import MailTransaction, OutgoingMessage, SmtpDialogue, is_throttling, refused, server_deferral
from delivery.wire.window import OfferedMessage, Window
from emailconfig.connection import ConnectionFailure, abort, connect, meaning_of
from emailconfig.exceptions import SettingsDeleted
from emailconfig.models import SmtpSettings
from outbox.access.masking import masked_words

log = structlog.get_logger(__name__)

# A server that takes longer over a message has a high latency. Its reply is recorded while the next message is on its way.
_HIGH_LATENCY_SECONDS = 0.005
# After this long a connection that waits for the stage's limit checks whether something has changed.
_LONGEST_WAIT_SECONDS = 1.0
_NO_ADDRESS = "5.1.3 This isn't an address, so nothing was sent to it."
_UNPREPARED = "5.6.0 The email's header can't be processed, so the email was not sent."


class Session:
    """Delivers one stage's due messages over one connection, until none is left, the connection ends, or `stopping` is set."""

    def __init__(self, stage_id: int, coordinator: Coordinator, stopping: threading.Event, config: DeliveryConfig) -> None:
        self.stage_id, self.coordinator, self.stopping, self._config = stage_id, coordinator, stopping, config
        self._window = Window(config.claims_per_connection)
        self._smtp: smtplib.SMTP | None = None
        self._dialogue: SmtpDialogue | None = None
        self._settings: SmtpSettings | None = None
        self._deadline = math.inf
        self._answer: Report | None = None  # to the last report, not read yet
        self._trouble_is_over = False  # for the stage, as soon as the server decides about a message
        self._high_latency = False  # whether the server has one, see _HIGH_LATENCY_SECONDS
        self._decided = 0  # messages that the server has decided about on this connection
        self._throttled: ConnectionFailure | None = None  # the server asks for fewer messages, or accepts none
        self._lock = threading.Lock()  # held by the watch while the session waits for the server
        self._waits_for_server = False
        self.silence: Silence | None = None

    def run(self) -> None:
        # The coordinator reads the settings: a session has no database connection of its own unless something goes wrong.
        settings = self.coordinator.report_and_claim(self.stage_id, (), 0).settings
        try:
            while settings is not None:
                settings = self._deliver_with(settings)
        except LeaseLost:
            log.error("lease_lost", stage=self.stage_id)
            self._report_broken()  # of those that are still ours
        except ConnectionFailure as failure:
            self._report_broken()
            backoff.record_failure(self.stage_id, failure)
        except (smtplib.SMTPException, OSError) as error:
            log.info("connection_lost", stage=self.stage_id, error=masked_words(str(error), self._claimed_addresses()))
            self._report_broken()
            if self._throttled:
                backoff.record_failure(self.stage_id, self._throttled)
        except (SettingsDeleted, CoordinatorClosed):  # the worker's next round holds the stage's messages, or the worker ends
            self._report_broken()
        except Exception:
            self._report_broken()
            raise

    def _claimed_addresses(self) -> list[str]:
        return [recipient.address for mail in self._window.claimed for recipient in mail.recipients]

    def watch(self) -> None:
        """Limit what a server that hangs holds up, and for how long. The worker's watch calls it."""
        self._cut_if_overdue()
        with self._lock:
            silence = self._silence_now()
            if silence is not None:
                if self.silence is None:
                    log.warning("server_hangs", stage=self.stage_id, message=silence.message)
                self._let_others_go()
            elif self.silence is not None:
                log.info("server_answers_again", stage=self.stage_id, message=self.silence.message)
            self.silence = silence

    def _silence_now(self) -> Silence | None:
        dialogue, mail = self._dialogue, self._window.asked_about
        if not self._waits_for_server or dialogue is None or mail is None:
            return None
        since = dialogue.last_sign
        return Silence(mail.message.pk, since) if boottime() > since + self._config.silent_seconds else None

    def _let_others_go(self) -> None:
        """Report the finished messages while the server hangs over another one, and give back those that were not offered.

        A message whose envelope was offered meanwhile is given back too, which ends the connection (see _exchange). Where the
        stage has only one connection, none is given back, because no other connection could send it.
        """
        if self._settings is None:
            return
        others_can = self._settings.connections > 1
        results = self._window.let_go(unsent=others_can)
        if others_can and self._answer:
            results += [MessageResult(mail) for mail in self._answer.take_back()]
        if results:
            self.coordinator.report_async(self.stage_id, results, 0)

    def _cut_if_overdue(self) -> None:
        """End a connection whose server is too slow, or whose messages aren't ours any more."""
        smtp, dialogue, lost = self._smtp, self._dialogue, self._lost_messages()
        deadline = min(self._deadline, dialogue.reply_due if dialogue else math.inf)
        # The second check: what was reported in between isn't claimed any more, and its lease is over for a good reason.
        if smtp is not None and (boottime() > deadline or any(mail in self._window.claimed for mail in lost)):
            abort(smtp)

    def _lost_messages(self) -> list[ClaimedMessage]:
        """The claimed messages that aren't ours any more."""
        return [mail for mail in self._window.claimed if not self.coordinator.is_ours(mail)]

    def _deliver_with(self, settings: SmtpSettings) -> SmtpSettings | None:
        """Deliver over a connection made with `settings`. Returns newer ones when they were saved meanwhile."""
        self._settings, self._decided = settings, 0
        self._smtp = connect(settings)
        self._dialogue = SmtpDialogue(self._smtp, self._permit, boottime, self._config)
        newer = self._loop(self._dialogue, settings)
        self._quit(self._smtp)
        if self._throttled:
            raise self._throttled
        return newer

    def _permit(self) -> None:
        if self._lost_messages():
            raise LeaseLost

    def _loop(self, dialogue: SmtpDialogue, settings: SmtpSettings) -> SmtpSettings | None:
        self._report(self._window.room)
        while True:
            batch = self._receive()
            outdated = batch.settings is None or batch.settings.version != settings.version
            if self._nothing_left(outdated):
                if not self._waits_for_limit(batch, outdated):
                    self._give_back()
                    return batch.settings if outdated else None
                self.stopping.wait(min(batch.pause, _LONGEST_WAIT_SECONDS))
            if self._high_latency and self._config.window > 1:
                self._report(0 if outdated else self._room)
                self._send_next(dialogue, settings, outdated)
            else:  # sending takes less time than a report, so as many messages as the window allows share one report
                while len(self._window.to_report) < self._config.window and self._send_next(dialogue, settings, outdated):
                    pass
                self._report(0 if outdated else self._room)

    def _send_next(self, dialogue: SmtpDialogue, settings: SmtpSettings, outdated: bool) -> bool:
        """Send the message whose envelope was accepted, and offer another. False when there is neither."""
        if not outdated and not self._throttled:
            self._window.next_offer(lambda message: self._prepared(message, dialogue, settings))
        if self._window.sending is None and self._window.offered is None:
            return False
        began = boottime()
        self._exchange(dialogue)
        self._high_latency = boottime() > began + _HIGH_LATENCY_SECONDS
        self._window.settle(self._conclude)
        return True

    def _nothing_left(self, outdated: bool) -> bool:
        """Whether nothing is left to send or to report over this connection."""
        nothing_to_offer = not self._window.has_unoffered or outdated or self._throttled is not None
        return nothing_to_offer and self._window.is_settled

    def _waits_for_limit(self, batch: Batch, outdated: bool) -> bool:
        """Whether only the stage's limit leaves nothing to send. Then the connection is kept for the next message."""
        return batch.pause > 0 and not outdated and not self._throttled and not self.stopping.is_set()

    @property
    def _room(self) -> int:
        """How many more messages to ask for."""
        return 0 if self.stopping.is_set() or self._throttled else self._window.room

    def _report(self, room: int) -> None:
        """Report to the coordinator what is finished, and ask for the next messages, without waiting for the answer."""
        self._answer = self.coordinator.report_async(self.stage_id, self._window.report(), room)

    def _receive(self) -> Batch:
        """Wait until the last report is recorded, and take the messages that it asked for."""
        assert self._answer is not None
        answer, self._answer = self._answer, None
        batch = answer.batch()
        self._window.take(batch.messages)
        self._trouble_is_over = batch.backoff_is_over
        return batch

    def _prepared(
        self, message: ClaimedMessage, dialogue: SmtpDialogue, settings: SmtpSettings
    ) -> OfferedMessage | MessageResult:
        """The message as it is to be offered. A message that can't be sent at all is finished at once."""
        usable = [recipient for recipient in message.recipients if has_wire_form(recipient.address)]
        try:
            mail, notes = prepare(message._replace(recipients=usable), settings)
            reason = dialogue.why_not_sendable(mail)
        except (DatabaseError, InterfaceError):
            raise
        except Exception:  # a header that breaks our code breaks it every time, and the next messages must be sent
            log.exception("mail_cant_be_prepared", message=message.pk)
            mail, notes, reason = OutgoingMessage("", usable, (), 0), [], _UNPREPARED
        unusable = refused([recipient for recipient in message.recipients if recipient not in usable], _NO_ADDRESS)
        prepared = OfferedMessage(message, MailTransaction(mail, outcomes=unusable), settings, notes, boottime())
        if reason or not usable:
            return prepared.result([*unusable, *refused(usable, reason)], boottime())
        return prepared

    def _exchange(self, dialogue: SmtpDialogue) -> None:
        sending, offered = self._window.sending, self._window.offered
        size = sending.transaction.mail.size if sending else 0
        self._deadline = boottime() + self._config.exchange_seconds + size / self._config.slowest_bytes_per_second
        try:
            with self._waiting_for_server():
                dialogue.exchange(sending.transaction if sending else None, offered.transaction if offered else None)
            if offered is not self._window.offered:
                raise smtplib.SMTPServerDisconnected("The server was silent, so another connection got its next message.")
        except ServerWentAway as gone:
            raise self._closed(gone) from gone
        except (smtplib.SMTPException, OSError) as error:
            if sending is None and offered is not None and not offered.transaction.answered:
                raise self._closed(error) from error
            raise
        finally:
            self._deadline = math.inf

    @contextmanager
    def _waiting_for_server(self) -> Iterator[None]:
        """While this lasts, the watch may take messages away from the session."""
        self._waits_for_server = True
        try:
            yield
        finally:
            with self._lock:
                self._waits_for_server = False

    def _closed(self, error: Exception) -> Exception:
        """The error to raise when the server ended the session before it dealt with a message.

        After other messages that is a limit of messages per connection, and the next connection goes on. At the first message
        it is a failure of the stage, and so is a complaint about our greeting.
        """
        step, code = "MAIL FROM", "session_closed"
        if isinstance(error, ServerWentAway):
            step, code = error.step, meaning_of(error.step, error.reply)
        if self._decided and code != "hello_refused":
            return smtplib.SMTPServerDisconnected(str(error))
        return ConnectionFailure(step, code, str(error), recipients=tuple(self._claimed_addresses()))

    def _conclude(self, mail: OfferedMessage) -> MessageResult:
        """The result of a message that the server has decided about."""
        message = mail.message
        outcomes, most_recipients, short_lines = second_try(
            mail.transaction, short_lines=message.short_lines, content=lambda: whole(message)
        )
        result = mail.result(outcomes, boottime())
        self._decided += 1
        if self._server_defers_all(mail, outcomes):
            return MessageResult(message, requeue_last=True)
        if throttle := next(filter(is_throttling, outcomes), None):
            self._throttled = _failure_of(throttle, "throttled", outcomes)
        elif self._trouble_is_over and not server_deferral(outcomes):
            # Not before: a server may accept every greeting and then refuse each message.
            self._trouble_is_over = not backoff.try_reset(self.stage_id)
        return result._replace(most_recipients=most_recipients, short_lines=short_lines)

    def _server_defers_all(self, mail: OfferedMessage, outcomes: Sequence[Outcome]) -> bool:
        """Whether the server defers this message as it did those before.

        Then the failure is the server's, and it counts as a try of no message.
        """
        deferral = server_deferral(outcomes)
        if deferral is None or is_throttling(deferral):
            return False
        self._trouble_is_over = True  # as soon as it accepts one
        if not backoff.record_deferral(
            self.stage_id, first_try=not any(recipient.tries for recipient in mail.message.recipients)
        ):
            return False
        self._throttled = _failure_of(deferral, "puts_everybody_off", outcomes)
        return True

    def _give_back(self) -> None:
        """Give back what was claimed and not offered, because the settings have changed or the worker stops."""
        if self._window.has_unoffered:
            self._window.give_back()
            self._report(0)
            self._receive()

    def _report_broken(self) -> None:
        self._close()
        if self._answer is not None:
            with suppress(Exception):  # then it is reported again
                self._receive()
        try:
            self.coordinator.report_and_claim(self.stage_id, self._window.unfinished(self._conclude_broken), 0)
        except CoordinatorClosed:
            log.warning("session_outlived_its_worker", stage=self.stage_id)

    def _conclude_broken(self, mail: OfferedMessage, outcomes: Sequence[Outcome]) -> MessageResult:
        if self._server_defers_all(mail, outcomes):
            return MessageResult(mail.message, requeue_last=True)
        return mail.result(outcomes, boottime())

    def _quit(self, smtp: smtplib.SMTP) -> None:
        self._deadline = boottime() + self._config.quit_seconds
        with suppress(smtplib.SMTPException, OSError):
            smtp.quit()
        self._deadline = math.inf
        self._close()

    def _close(self) -> None:
        if self._smtp is not None:
            self._smtp.close()


def _failure_of(outcome: Outcome, code: str, outcomes: Sequence[Outcome]) -> ConnectionFailure:
    """What the server said about one message, as a failure of the stage. It may name the message's recipients."""
    recipients = tuple(outcome.recipient.address for outcome in outcomes)
    return ConnectionFailure(outcome.step, code, outcome.reply, recipients=recipients)
