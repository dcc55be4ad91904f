"""What one connection has in hand, from the claim to the record. Pure: no socket, no thread, no database, no clock.

A message is claimed, then offered (the server is asked about its envelope), then sending (it took the envelope, and the
content is next), then to report (it has decided), then reported (the outcome is being recorded). What becomes of a message
when the server has decided, or when the connection broke, is the caller's to say: it knows the stage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from delivery.smtp_dialogue import Offer
from delivery.values import Finished, HandOver, Outcome

if TYPE_CHECKING:
    from emailconfig.models import SmtpSettings


@dataclass(frozen=True)
class OfferedMessage:
    """A claimed message with what the server has said about it so far. `started`: when, by the clock of the caller."""

    message: HandOver
    offer: Offer
    settings: SmtpSettings
    notes: Sequence[str]
    started: float

    def finished(self, outcomes: Sequence[Outcome], now: float) -> Finished:
        return Finished(self.message, outcomes, self.settings, now - self.started, self.notes)


class Window:
    """One connection's messages. `size`: how many it may have claimed and not yet decided.

    `claimed`: all that may still be sent over this connection. It is replaced and never changed, so that another thread may
    read it at any time.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.claimed: tuple[HandOver, ...] = ()
        self.offered: OfferedMessage | None = None
        self.sending: OfferedMessage | None = None
        self.to_report: list[Finished] = []
        self._unoffered: deque[HandOver] = deque()
        self._reported: list[Finished] = []

    @property
    def room(self) -> int:
        """How many more messages it may claim."""
        return self.size - len(self._unoffered) - (self.sending is not None)

    @property
    def has_unoffered(self) -> bool:
        return bool(self._unoffered)

    @property
    def is_settled(self) -> bool:
        """Whether no message is half sent, and none is to be reported."""
        return self.sending is None and not self.to_report

    @property
    def asked_about(self) -> OfferedMessage | None:
        """The message that the server's next reply is about."""
        if self.sending is not None and self.sending.offer.wants_content:
            return self.sending
        return self.offered

    def report(self) -> list[Finished]:
        """What is to be recorded now. It is kept until take(): the answer may never come."""
        self._forget(self.to_report)
        self._reported, self.to_report = self.to_report, []
        return self._reported

    def take(self, messages: Sequence[HandOver]) -> None:
        """What was reported is recorded, and these messages are claimed."""
        self._reported = []
        self.claimed += tuple(messages)
        self._unoffered.extend(messages)

    def next_offer(self, prepare: Callable[[HandOver], OfferedMessage | Finished]) -> None:
        """Choose the next message to offer. One that `prepare` finishes can't be sent at all. One at which it raises stays."""
        while self._unoffered:
            prepared = prepare(self._unoffered[0])
            self._unoffered.popleft()
            if isinstance(prepared, OfferedMessage):
                self.offered = prepared
                return
            self.to_report.append(prepared)

    def settle(self, conclude: Callable[[OfferedMessage], Finished]) -> None:
        """Finish what the server has decided about. A message whose envelope it took is sending now."""
        if self.sending is not None:
            self.to_report.append(conclude(self.sending))
            self.sending = None
        if self.offered is not None and not self.offered.offer.wants_content:
            self.to_report.append(conclude(self.offered))
            self.offered = None
        self.sending, self.offered = self.offered, None

    def give_back(self) -> None:
        """What was claimed and not offered is to go back to the queue."""
        self.to_report += [Finished(message) for message in self._unoffered]
        self._unoffered.clear()

    def let_go(self, *, unsent: bool) -> list[Finished]:
        """What the caller reports while the server hangs over one message: all that is finished.

        With `unsent` also what the server wasn't given, and a message that it was only offered behind the one that is sending.
        Its content must not be sent any more.
        """
        finished, self.to_report = self.to_report, []
        if unsent:
            finished += [Finished(message) for message in self._unoffered]
            self._unoffered.clear()
            if self.offered is not None and self.asked_about is self.sending:
                finished.append(Finished(self.offered.message))
                self.offered = None
        self._forget(finished)
        return finished

    def unfinished(self, conclude: Callable[[OfferedMessage, Sequence[Outcome]], Finished]) -> list[Finished]:
        """What becomes of everything when the connection broke. What the server hadn't taken up goes back to the queue."""
        finished = [*self._reported, *self.to_report]
        if self.sending is not None:
            offer = self.sending.offer
            finished.append(conclude(self.sending, offer.broken(content_sent=True) if offer.wants_content else offer.outcomes))
        if self.offered is not None:
            offer = self.offered.offer
            if offer.answered:
                finished.append(conclude(self.offered, offer.broken(content_sent=False)))
            else:
                finished.append(Finished(self.offered.message, goes_behind=True))
        return finished + [Finished(message) for message in self._unoffered]

    def _forget(self, finished: Sequence[Finished]) -> None:
        done = {one.taken.hold for one in finished}
        self.claimed = tuple(message for message in self.claimed if message.hold not in done)
