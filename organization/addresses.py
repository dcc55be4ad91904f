"""E-mail addresses: the one place that decides whether a text is an address, and when two are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import quote, unquote
from functools import lru_cache

import email_validator
import idna
from django.core.exceptions import ValidationError

from organization.text import CONTROL, ZERO_WIDTH

# RFC 5321 section 4.5.3.1.1: a local part has at most 64 octets; email-validator counts characters.
LOCAL_PART_MAX_OCTETS = 64
# RFC 5321 section 4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
ADDRESS_MAX_LENGTH = 254
_FORBIDDEN_IN_NAME = re.compile(f"[{CONTROL}]")  # joiners belong to names in many scripts
_FORBIDDEN = re.compile(f"[{CONTROL}{ZERO_WIDTH}]")

# Names of local networks (corp.local, mail.test, localhost) are as good as others to an organization's own server.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


@lru_cache(maxsize=10_000)  # the same few senders and people again and again
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


def masked_address(address: str) -> str:
    """`a•••@example.com`, for those who may not know whose it is; nothing stays nothing."""
    name, at, domain = address.rpartition("@") if "@" in address else (address, "", "")
    start = name[0] if len(name) > 1 else ""
    return f"{start}•••{at}{domain}" if address else ""


@dataclass(frozen=True)
class NamedAddress:
    """A person: `email` in normal form, `name` may be empty."""

    email: str
    name: str = ""

    def masked(self) -> NamedAddress:
        """For those who may not know who it is."""
        return NamedAddress(masked_address(self.email))

    def __str__(self) -> str:
        """As parse_named_address() and split_addresses() read it back."""
        name = f'"{quote(self.name)}"' if _NEEDS_QUOTES.search(self.name) else self.name
        return f"{name} <{self.email}>" if name else self.email


_QUOTED = r'"(?:[^"\\]|\\.)*"'
_NEEDS_QUOTES = re.compile(r'[",;<>\\]')
_SEVERAL = re.compile(r"[,;<>]")


def parse_named_address(text: str) -> NamedAddress:
    """`Ana Silva <ana@example.com>`, `"Silva, Ana" <ana@example.com>` or a bare address. Raises ValidationError."""
    if _FORBIDDEN_IN_NAME.search(text):
        raise ValidationError(f"“{printable(text)}” contains a line break or an invisible character.")
    text = text.strip()
    if not text.endswith(">"):
        return NamedAddress(validate_address(text))
    name, _, email = text[:-1].rpartition("<")
    name = name.strip()
    if re.fullmatch(_QUOTED, name):
        name = unquote(name).strip()
    elif _SEVERAL.search(name):
        raise ValidationError(f"“{printable(text)}” is more than one entry. A name with a comma stands in quotes.")
    return NamedAddress(validate_address(email), name)


# Each part is taken as a whole and never given back, so that the time grows with the text alone.
_ENTRY = re.compile(rf'(?:{_QUOTED}|[^";,\t]+|")+')


def split_addresses(text: str) -> list[str]:
    """The entries of a pasted list: one per line, or separated by commas, semicolons or tabs (a spreadsheet's cells).

    A comma inside quotes belongs to a name. Empty entries are dropped.
    """
    return [entry for line in text.splitlines() for entry in map(str.strip, _ENTRY.findall(line)) if entry]
