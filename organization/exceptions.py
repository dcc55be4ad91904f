"""What is refused about members, stages, apps and credentials."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from common.exceptions import PortalError

STALE = (
    "Somebody else, or you in another tab, saved a change after you opened this page. Nothing of yours was stored; "
    "open the current values, then change them again."
)


class StaleVersion(PortalError, ValidationError):
    """What was read is no longer what is stored: a save over it would undo somebody's change."""

    def __init__(self) -> None:
        super().__init__(STALE, code="stale")


class ArchivedPlace(PortalError):
    """The password is right, but the credential's app or stage is archived."""
