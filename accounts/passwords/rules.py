"""What a password may not be, besides Django's own rules. `AUTH_PASSWORD_VALIDATORS` names these classes."""

from __future__ import annotations

import re

from django.conf import settings
from django.contrib.auth.hashers import check_password, is_password_usable
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError

_LEAST_CHARACTERS = 5
# Guessers try these first, with a year or a few signs: words of this portal, and those of the organization's name.
_PORTAL_WORDS = ("odc", "email", "portal", "password")
_SHORTEST_WORD = 3
_LEAST_BESIDE_WORDS = 8


class NotRepetitive:
    """Refuse a password that is long only because it repeats: `aaaaaaaaaaaa`, `abababababab`, `summersummer`."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        if len(set(password.casefold())) < _LEAST_CHARACTERS or _repeats(password.casefold()):
            raise ValidationError("This password repeats the same few characters. Use several words.", code="password_repetitive")

    def get_help_text(self) -> str:
        return "Your password can't repeat the same few characters."


class NotThePortalsWords:
    """Refuse a password that is long only because it names the organization or the portal: `acme-email-portal`."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        whole = rest = password.casefold()
        for word in _words():
            rest = rest.replace(word, "")
        if rest != whole and len(rest) < _LEAST_BESIDE_WORDS:
            raise ValidationError("This password only names the portal or organization. Use other words.", code="password_names")

    def get_help_text(self) -> str:
        return "Your password can't be just the names of the portal and the organization."


class NotTheCurrentOne:
    """Refuse the password that the member has already."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        if user is None or not user.pk or not is_password_usable(user.password):
            return
        if check_password(password, user.password):  # not the member's method, which stores a stronger hash
            raise ValidationError("This is the current password. Choose another one.", code="password_reused")

    def get_help_text(self) -> str:
        return "Your password can't be the current one."


def _words() -> list[str]:
    """The longest first, because one may be part of another."""
    names = re.findall(r"\w+", settings.ORGANIZATION_NAME.casefold())
    return sorted({*_PORTAL_WORDS, *(name for name in names if len(name) >= _SHORTEST_WORD)}, key=len, reverse=True)


def _repeats(password: str) -> bool:
    """Whether a beginning of at most half the password is repeated until its end."""
    longest = len(password) // 2
    return any(password[length:] == password[:-length] for length in range(1, longest + 1))
