"""The base of what our own code raises, and what the rooms above share."""

from __future__ import annotations

from django.core.exceptions import ValidationError


class PortalError(Exception):
    """Anything that our own code raises."""


class UndecryptableSecret(PortalError):
    """A stored secret can't be opened with the keys in ENCRYPTION_KEYS."""


class NotOneAddress(PortalError, ValidationError):
    """The text can't be read as exactly one address: none, several, half of one, or one with a line break."""
