"""E-mail addresses: the one place that decides whether a text is an address, and when two are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parseaddr

import email_validator
import idna
from django.core.exceptions import ValidationError

# RFC 5321 section 4.5.3.1.1: a local part has at most 64 octets; email-validator counts characters.
LOCAL_PART_MAX_OCTETS = 64
# RFC 5321 section 4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
ADDRESS_MAX_LENGTH = 254
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")


def validate_address(text: str) -> str:
    """The address in its normal form: domain in lower case, Unicode in NFC, local part as written.

    Raises ValidationError that says what is wrong. Nothing is looked up on the network.
    """
    if _FORBIDDEN.search(text):
        raise ValidationError(f"“{printable(text)}” contains a line break or an invisible character.")
    try:
        found = email_validator.validate_email(
            text.strip(), check_deliverability=False, globally_deliverable=False, allow_smtputf8=True
        )
    except email_validator.EmailNotValidError as error:
        raise ValidationError(f"“{printable(text)}” isn't an e-mail address: {error}") from error
    if len(found.local_part.encode()) > LOCAL_PART_MAX_OCTETS:
        raise ValidationError(f"“{printable(text)}” is too long before the @-sign: at most 64 bytes.")
    return found.normalized


def printable(text: str) -> str:
    """`text` safe to show in a message: control and invisible characters escaped, at most 100 characters."""
    shown = _FORBIDDEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    return shown if len(shown) <= 100 else f"{shown[:99]}…"


def domain_of(address: str) -> str:
    """What follows the last @-sign, in lower case; empty for the null sender."""
    return address.rpartition("@")[2].lower()


def wire_address(address: str) -> str:
    """As it stands in SMTP commands: the domain in A-label form (RFC 5891). Only the local part may stay non-ASCII."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain if domain.isascii() else idna.encode(domain, uts46=True).decode()}"


def same_address_key(address: str) -> str:
    """Two addresses are the same person when these are equal: the domain's case does not count, the local part's does."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain.lower()}"


@dataclass(frozen=True)
class NamedAddress:
    """A person: `email` in normal form, `name` may be empty."""

    email: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.name else self.email


def parse_named_address(text: str) -> NamedAddress:
    """`Ana Silva <ana@example.com>` or a bare address. Raises ValidationError."""
    if _FORBIDDEN.search(text):
        raise ValidationError(f"“{printable(text)}” contains a line break or an invisible character.")
    text = text.strip()
    name, email = parseaddr(text) if text.endswith(">") else ("", text)
    return NamedAddress(validate_address(email or text), name.strip())


_SEPARATORS = re.compile(r"""[;,\t](?=(?:[^"]*"[^"]*")*[^"]*$)""")


def split_addresses(text: str) -> list[str]:
    """The entries of a pasted list: one per line, or separated by commas, semicolons or tabs (a spreadsheet's cells).

    A comma inside quotes belongs to a name. Empty entries are dropped.
    """
    return [part.strip() for line in text.splitlines() for part in _SEPARATORS.split(line) if part.strip()]
