"""What is refused about members, stages, apps and credentials."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import PermissionDenied, ValidationError

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


class UnansweredCopy(PortalError):
    """The database is a copy of another installation's, and nobody has answered about it yet."""


class MoreThanHeld(PortalError, PermissionDenied):
    """A role or grant would carry, or take away, permissions that its maker doesn't hold there."""

    def __init__(self, labels: list[str], where: str) -> None:
        names = ", ".join(f"“{label}”" for label in labels)
        super().__init__(f"You can give and take only what you hold yourself. For {where} you don't hold {names}.")


class TryLater(PortalError):
    """A secret isn't checked now. The answer has this status, and says when to try again."""

    status: ClassVar[int]

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class TooManyFailures(TryLater):
    """There were too many failures with this name from this address, or from this address alone."""

    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__("There were too many failed attempts from your network.", retry_after)


class TooManySignIns(TryLater):
    """Too many passwords are being checked at this moment."""

    status = 503

    def __init__(self) -> None:
        super().__init__("Too many people are signing in at this moment.", retry_after=2)
