"""What ends a connection of a worker before its messages are finished."""

from __future__ import annotations

from common.exceptions import PortalError


class LedgerClosed(PortalError):
    """Nobody writes down any more what became of a mail: its lease is left to run out."""


class LeaseLost(PortalError):
    """A mail of this connection isn't ours any more: not one more byte of it may leave."""


class ServerWentAway(PortalError):
    """The server closed the session before it took up the mail, or complains about our greeting: the stage's trouble, not the
    mail's. `reply` is what it said at `step`."""

    def __init__(self, step: str, reply: str) -> None:
        super().__init__(reply)
        self.step, self.reply = step, reply
