"""What keeps the gateway from taking an email."""

from __future__ import annotations

from common.exceptions import PortalError


class CertificateUnusable(PortalError):
    """Why, with the variable to look at, in one sentence."""


class ContentRefused(PortalError):
    """What the client is answered once all its content has come."""


class AcceptanceStopped(PortalError):
    """The gateway stops before it could store the mail."""
