"""What accounts raises."""

from __future__ import annotations

from common.exceptions import PortalError


class WrongSecondFactor(PortalError):
    """The code, recovery code or passkey isn't accepted. The text says why, for the member."""
