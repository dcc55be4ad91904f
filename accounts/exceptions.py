"""What is refused about members' accounts."""

from __future__ import annotations

from common.exceptions import PortalError


class LinkOver(PortalError):
    """The link was used, has ended, or never was one."""

    def __init__(self) -> None:
        super().__init__("This link doesn't work any more.")
