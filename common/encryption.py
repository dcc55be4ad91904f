"""Encrypt secrets at rest: ciphertext in the database, plain text in Python.

Keys come from settings.ENCRYPTION_KEYS, newest first. The first encrypts, all decrypt (cryptography's MultiFernet).
A value that no key decrypts raises UndecryptableSecret. It never becomes the ciphertext or an empty string.
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
    """Decrypt what encrypt() returned. Raises UndecryptableSecret."""
    try:
        return _cipher(tuple(settings.ENCRYPTION_KEYS)).decrypt(stored.encode()).decode()
    except InvalidToken as error:
        raise UndecryptableSecret("A stored secret can't be decrypted with the keys in ENCRYPTION_KEYS.") from error


def key_is_well_formed(key: str) -> bool:
    """Whether `key` is a Fernet key: 32 bytes in URL-safe base64."""
    try:
        return len(base64.urlsafe_b64decode(key)) == 32
    except ValueError:
        return False


class EncryptedValue:
    """A secret on a model instance, shown as dots.

    Only `reveal()` gives the plain text.
    """

    __slots__ = ("stored",)

    def __init__(self, stored: str = "") -> None:
        self.stored = stored

    @classmethod
    @sensitive_variables()  # an error report shows neither its variables nor those of what it calls
    def of(cls, plain: str) -> EncryptedValue:
        return cls(encrypt(plain)) if plain else cls()

    def reveal(self) -> str:
        """The plain text, or "" when no secret is stored. Raises UndecryptableSecret."""
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
    """A TextField whose Python value is an EncryptedValue.

    A page, log line or traceback that prints the value shows dots.
    """

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
