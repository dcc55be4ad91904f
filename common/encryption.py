"""Secrets at rest: a text field that is ciphertext in the database and plain text in Python.

Keys come from settings.ENCRYPTION_KEYS, newest first: the first encrypts, all decrypt (cryptography's MultiFernet).
A value that no key opens raises UndecryptableSecret: never the ciphertext, never an empty string.
"""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models
from django.views.decorators.debug import sensitive_variables

from common.exceptions import UndecryptableSecret

if TYPE_CHECKING:
    _TextField = models.TextField["EncryptedValue", "EncryptedValue"]
else:
    _TextField = models.TextField


@functools.lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(plain: str) -> str:
    return _cipher(tuple(settings.ENCRYPTION_KEYS)).encrypt(plain.encode()).decode()


def decrypt(stored: str) -> str:
    """The plain text of what `encrypt` returned. Raises UndecryptableSecret."""
    try:
        return _cipher(tuple(settings.ENCRYPTION_KEYS)).decrypt(stored.encode()).decode()
    except InvalidToken as error:
        raise UndecryptableSecret("A stored secret can't be opened with the keys in ENCRYPTION_KEYS.") from error


def key_is_well_formed(key: str) -> bool:
    """A Fernet key: 32 bytes in URL-safe base64."""
    try:
        return len(base64.urlsafe_b64decode(key)) == 32
    except ValueError:
        return False


class EncryptedValue:
    """Stands in for a secret on a model instance: shows nothing, is opened on purpose with `reveal()`."""

    __slots__ = ("stored",)

    def __init__(self, stored: str = "") -> None:
        self.stored = stored

    @classmethod
    @sensitive_variables()  # an error report shows neither its variables nor those of what it calls
    def of(cls, plain: str) -> EncryptedValue:
        return cls(encrypt(plain)) if plain else cls()

    def reveal(self) -> str:
        """The plain text; empty when no secret is stored. Raises UndecryptableSecret."""
        return decrypt(self.stored) if self.stored else ""

    def __bool__(self) -> bool:
        return bool(self.stored)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EncryptedValue) and other.stored == self.stored

    def __hash__(self) -> int:
        return hash(self.stored)

    def __str__(self) -> str:
        return "••••••••" if self.stored else ""

    __repr__ = __str__


class EncryptedTextField(_TextField):
    """A TextField whose Python value is an EncryptedValue: a page, log line or traceback that prints it shows dots."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("blank", True)
        kwargs.setdefault("default", EncryptedValue)
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: str | None, expression: object, connection: object) -> EncryptedValue:
        return EncryptedValue(value or "")

    def to_python(self, value: Any) -> Any:
        return value if isinstance(value, EncryptedValue) else EncryptedValue.of(value or "")

    def get_prep_value(self, value: Any) -> Any:
        return value.stored if isinstance(value, EncryptedValue) else super().get_prep_value(value)
