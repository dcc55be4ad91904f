"""The messages of one connection, from the claim to the record. Pure: no socket, no thread, no database, no clock.

A message is claimed, then offered (the server is asked about its envelope), then sending (the server accepted the envelope, and
the content is next), then to report (the server has decided), then reported (the outcome is being recorded). The caller says
what becomes of a message when the server has decided or the connection broke, because the caller knows the stage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.values import ClaimedMessage, MessageResult, Outcome
from delivery.wire.smtp_dialogue import MailTransaction

if TYPE_CHECKING:
    from emailconfig.models import SmtpSettings


@dataclass(frozen=True)
class OfferedMessage:
    """A claimed message with what the server has said about it so far. `started`: when, by the clock of the caller."""

    message: ClaimedMessage
    transaction: MailTransaction
    settings: SmtpSettings
    notes: Sequence[str]
    started: float

    def result(self, outcomes: Sequence[Outcome], now: float) -> MessageResult:
        return MessageResult(self.message, outcomes, self.settings, now - self.started, self.notes)


class Window:
    """One connection's messages. `size`: how many it may have claimed and not yet decided.

    `claimed`: all that may still be sent over this connection. It is replaced and never changed, so that another thread may
    read it at any time.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.claimed: tuple[ClaimedMessage, ...] = ()
        self.offered: OfferedMessage | None = None
        self.sending: OfferedMessage | None = None
        self.to_report: list[MessageResult] = []
        self._unoffered: deque[ClaimedMessage] = deque()
        self._reported: list[MessageResult] = []

    @property
    def room(self) -> int:
        """How many more messages it may claim."""
        return self.size - len(self._unoffered) - (self.sending is not None)

    @property
    def has_unoffered(self) -> bool:
        return bool(self._unoffered)

    @property
    def is_settled(self) -> bool:
        """Whether no message is half sent and none is left to report."""
        return self.sending is None and not self.to_report

    @property
    def asked_about(self) -> OfferedMessage | None:
        """The message that the server's next reply is about."""
        if self.sending is not None and self.sending.transaction.wants_content:
            return self.sending
        return self.offered

    def report(self) -> list[MessageResult]:
        """The results to record now. They are kept until take(), because the answer may never come."""
        self._forget(self.to_report)
        self._reported, self.to_report = self.to_report, []
        return self._reported

    def take(self, messages: Sequence[ClaimedMessage]) -> None:
        """Add newly claimed messages. What was reported before is recorded now."""
        self._reported = []
        self.claimed += tuple(messages)
        self._unoffered.extend(messages)

    def next_offer(self, prepare: Callable[[ClaimedMessage], OfferedMessage | MessageResult]) -> None:
        """Choose the next message to offer.

        A message that `prepare` finishes can't be sent at all. A message at which it raises stays.
        """
        while self._unoffered:
            prepared = prepare(self._unoffered[0])
            self._unoffered.popleft()
            if isinstance(prepared, OfferedMessage):
                self.offered = prepared
                return
            self.to_report.append(prepared)

    def settle(self, conclude: Callable[[OfferedMessage], MessageResult]) -> None:
        """Finish what the server has decided about. A message whose envelope it accepted is sending now."""
        if self.sending is not None:
            self.to_report.append(conclude(self.sending))
            self.sending = None
        if self.offered is not None and not self.offered.transaction.wants_content:
            self.to_report.append(conclude(self.offered))
            self.offered = None
        self.sending, self.offered = self.offered, None

    def give_back(self) -> None:
        """Report what was claimed and not offered, so that it goes back to the queue."""
        self.to_report += [MessageResult(message) for message in self._unoffered]
        self._unoffered.clear()

    def let_go(self, *, unsent: bool) -> list[MessageResult]:
        """The results to report while the server hangs over one message: all that is finished.

        With `unsent` also the messages that were not offered, and a message that was only offered behind the one that is
        sending. Its content must not be sent any more.
        """
        results, self.to_report = self.to_report, []
        if unsent:
            results += [MessageResult(message) for message in self._unoffered]
            self._unoffered.clear()
            if self.offered is not None and self.asked_about is self.sending:
                results.append(MessageResult(self.offered.message))
                self.offered = None
        self._forget(results)
        return results

    def unfinished(self, conclude: Callable[[OfferedMessage, Sequence[Outcome]], MessageResult]) -> list[MessageResult]:
        """The results of all messages when the connection broke.

        Messages that the server hadn't dealt with go back to the queue.
        """
        results = [*self._reported, *self.to_report]
        if self.sending is not None:
            transaction = self.sending.transaction
            results.append(
                conclude(
                    self.sending, transaction.broken(content_sent=True) if transaction.wants_content else transaction.outcomes
                )
            )
        if self.offered is not None:
            transaction = self.offered.transaction
            if transaction.answered:
                results.append(conclude(self.offered, transaction.broken(content_sent=False)))
            else:
                results.append(MessageResult(self.offered.message, requeue_last=True))
        return results + [MessageResult(message) for message in self._unoffered]

    def _forget(self, results: Sequence[MessageResult]) -> None:
        done = {result.message.lease_key for result in results}
        self.claimed = tuple(message for message in self.claimed if message.lease_key not in done)
