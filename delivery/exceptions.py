"""Exceptions that end a worker's connection before its messages are finished."""

from __future__ import annotations

from common.exceptions import PortalError


class CoordinatorClosed(PortalError):
    """The coordinator has ended and records no more results. The leases of the remaining messages run out."""


class LeaseLost(PortalError):
    """The lease of a message on this connection is over, so not one more byte of it may leave."""


class ServerWentAway(PortalError):
    """The server closed the session before it dealt with the message, or it rejects our greeting.

    That is a failure of the stage and not of the message. `reply` is what the server said at `step`.
    """

    def __init__(self, step: str, reply: str) -> None:
        super().__init__(reply)
        self.step, self.reply = step, reply
