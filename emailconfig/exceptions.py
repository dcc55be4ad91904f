"""What goes wrong with a stage's settings and on the way to its server.

What is said of it in words is ConnectionTrouble (connection.trouble): it needs their explanations.
"""

from __future__ import annotations

import smtplib
import socket

from common.exceptions import PortalError


class NameServersSilent(PortalError):
    """No answer from the name servers in time."""


class NameNotUsable(PortalError):
    """No name server knows this name, or it leads where the portal may not connect.

    Which of the two it is would tell about the network inside. `reason` says it, for the operator alone.
    """

    def __init__(self, reason: AddressRefused | socket.gaierror) -> None:
        super().__init__()
        self.reason = reason


class AddressRefused(PortalError):
    """The portal may not connect there. Says no more than that, whatever the address is."""


class ReplyTooLong(PortalError, smtplib.SMTPException):
    """The server goes on and on."""


class SettingsDeleted(PortalError):
    """The settings were deleted while a token was being requested."""


class TooManyTests(PortalError):
    """This process tests as many connections as it may."""
