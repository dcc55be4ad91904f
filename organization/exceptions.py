"""What is refused about members, stages, apps and credentials."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from common.exceptions import PortalError

STALE = (
    "Another member, or you in another tab, saved a change after you opened this page. Your changes were not stored. "
    "Open the current values, then change them again."
)


class StaleVersion(PortalError, ValidationError):
    """The stored values changed after they were read. Saving would undo another member's change."""

    def __init__(self) -> None:
        super().__init__(STALE, code="stale")


class CredentialRefused(PortalError):
    """The password is right, but the credential can't be used now, or not from there."""
