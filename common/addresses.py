"""Email addresses: decide whether a text is an address, and when two are the same.

More addresses exist than most registration forms accept. `karl..kunde@docomo.example`, `"karl kunde"@example.com`,
`karl@[192.0.2.1]` and `www-data@web_1.example` are accepted here, and the receiving server decides. An address is refused if
no server can have it, or if another program could read it differently because of control or invisible characters.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from email.utils import quote, unquote
from functools import lru_cache

import idna
from django.core.exceptions import ValidationError

from common.exceptions import NotOneAddress
from common.text import CONTROL, ZERO_WIDTH

# RFC 5321 section 4.5.3.1.1: a local part has at most 64 octets.
LOCAL_PART_MAX_OCTETS = 64
# RFC 5321 section 4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
ADDRESS_MAX_LENGTH = 254
_FORBIDDEN_IN_NAME = re.compile(f"[{CONTROL}]")  # joiners belong to names in many scripts
_FORBIDDEN = re.compile(f"[{CONTROL}{ZERO_WIDTH}]")
# Domains in some scripts need the two joiners. IDNA says where (RFC 5892 appendix A).
_FORBIDDEN_IN_DOMAIN = re.compile(r"[\u200b\u200e\u200f\u2060-\u2064\ufeff]")

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PLAIN = r'[^\s"(),:;<>@\[\\\]]+'  # with dots anywhere
_ATOM = r'[^\s"(),:;<>@\[\\\].]+'
_ADDRESS = rf"(?:{_QUOTED}|{_PLAIN})@(?:{_PLAIN}|\[[^\s\[\\\]]+\])"
_WHOLE_ADDRESS = re.compile(_ADDRESS)
_NAMED_ADDRESS = re.compile(rf"(.*?)<\s*({_ADDRESS})\s*>")
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


@lru_cache(maxsize=10_000)  # the same few senders and recipients occur many times
def validate_address(text: str) -> str:
    """The address in its normal form.

    The domain is in lower case, Unicode is in NFC, and the local part stays as written. Raises a ValidationError that says what
    is wrong, and NotOneAddress when `text` isn't an address or is more than one. It doesn't use the network.
    """
    local, _, domain = _one_address(text).rpartition("@")
    if _FORBIDDEN.search(local) or _FORBIDDEN_IN_DOMAIN.search(domain):
        raise ValidationError(_invisible(text))
    try:
        local = _normal_local(local)
        address = f"{local}@{_normal_domain(domain)}"
        octets = len(wire_address(address).encode())
    except ValueError as error:
        raise ValidationError(f"“{printable(text)}” isn't an email address: {str(error).rstrip('.')}.") from error
    if len(local.encode()) > LOCAL_PART_MAX_OCTETS:
        raise ValidationError(f"“{printable(text)}” is too long before the @-sign: at most {LOCAL_PART_MAX_OCTETS} bytes.")
    if octets > ADDRESS_MAX_LENGTH:
        raise ValidationError(f"“{printable(text)}” isn't an email address: at most {ADDRESS_MAX_LENGTH} bytes.")
    return address


def is_address(text: str) -> bool:
    """Whether `text` passes validate_address()."""
    try:
        validate_address(text)
    except ValidationError:
        return False
    return True


def _one_address(text: str) -> str:
    """Trim `text` and check that it looks like one address. Raises NotOneAddress."""
    if _FORBIDDEN_IN_NAME.search(text):
        raise NotOneAddress(_invisible(text))
    address = unicodedata.normalize("NFC", text.strip())
    if not _WHOLE_ADDRESS.fullmatch(address):
        raise NotOneAddress(_not_an_address(text))
    return address


def _invisible(text: str) -> str:
    return f"“{printable(text)}” contains a line break or an invisible character."


def _not_an_address(text: str) -> str:
    local, at, domain = text.strip().rpartition("@")
    if not at:
        reason = "it has no @-sign"
    elif not local or not domain:
        reason = f"there is nothing {'after' if local else 'before'} the @-sign"
    else:
        reason = "enter one address without spaces, such as ana@example.com"
    return f"“{printable(text)}” isn't an email address: {reason}."


def _normal_local(local: str) -> str:
    """The local part, quoted only if it needs quotes. Raises ValueError."""
    quoted = local.startswith('"')
    content = re.sub(r"\\(.)", r"\1", local[1:-1]) if quoted else local
    if not content:
        raise ValueError("there is nothing before the @-sign")
    if unicodedata.category(content[0]) == "Mn" or any(_is_invisible(char) for char in content):
        raise ValueError("it contains an invisible character")
    if not quoted or _DOT_ATOM.fullmatch(content):
        return content
    return '"' + re.sub(r'([\\"])', r"\\\1", content) + '"'


def _is_invisible(char: str) -> bool:
    return char != " " and unicodedata.category(char)[0] in "CZ"


def _normal_domain(domain: str) -> str:
    """The domain with its labels in Unicode form (RFC 5890). Raises ValueError.

    Each domain then has only one spelling.
    """
    if domain.startswith("["):
        return _normal_literal(domain)
    labels = [_normal_label(label) for label in domain.removesuffix(".").split(".")]
    return ".".join(labels) + ("." if domain.endswith(".") else "")


def _normal_literal(domain: str) -> str:
    tag, colon, address = domain[1:-1].partition(":")
    if colon and tag.lower() == "ipv6":
        return f"[IPv6:{ipaddress.IPv6Address(address)}]"
    return f"[{ipaddress.IPv4Address(domain[1:-1])}]"


def _normal_label(label: str) -> str:
    if not label.isascii():
        return idna.decode(idna.encode(label, uts46=True))
    label = label.lower()
    if not _LABEL.fullmatch(label):
        raise ValueError(f"“{label}” can't be part of a domain" if label else "its domain has an empty part")
    try:
        return idna.decode(label) if label.startswith("xn--") else label
    except idna.IDNAError:  # valid only in an older standard, such as an emoji: servers with these names exist
        return label


def is_printable(text: str) -> bool:
    """Whether `text` has only visible characters and no line break."""
    return not _FORBIDDEN.search(text)


def printable(text: str) -> str:
    """`text`, made safe to show in a message.

    Control and invisible characters are escaped, and at most 100 characters are kept.
    """
    shown = _FORBIDDEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
    return shown if len(shown) <= 100 else f"{shown[:99]}…"


def domain_of(address: str) -> str:
    """The domain in lower case; empty for the null sender."""
    return address.rpartition("@")[2].lower()


def may_be_incomplete(address: str) -> bool:
    """Whether the domain has no dot, as in `ana@localhost`.

    On a local network that may be correct. Elsewhere it is a typing error.
    """
    domain = domain_of(address)
    return is_address(address) and not domain.startswith("[") and "." not in domain.removesuffix(".")


@lru_cache(maxsize=10_000)
def wire_address(address: str) -> str:
    """The address for SMTP commands, with its domain in A-label form (RFC 5891).

    Only the local part may stay non-ASCII. The null sender stays empty. Raises ValueError if it isn't one address, even if it
    comes from the database, because a line break would end the command.
    """
    if not address:
        return ""
    if _FORBIDDEN_IN_NAME.search(address) or not _WHOLE_ADDRESS.fullmatch(address):
        raise ValueError(f"“{printable(address)}” can't be used as an address")
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{'.'.join(map(_wire_label, domain.split('.')))}"


def has_wire_form(address: str) -> bool:
    """Whether wire_address() accepts the address."""
    try:
        wire_address(address)
    except ValueError:
        return False
    return True


def _wire_label(label: str) -> str:
    return label if label.isascii() else idna.encode(label, uts46=True).decode()


def same_address_key(address: str) -> str:
    """A key that is equal for two addresses of the same mailbox.

    The domain's case and a dot at its end make no difference. The local part's case does.
    """
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{domain.lower().removesuffix('.')}"


def masked_address(address: str) -> str:
    """The masked address, such as `a•••@example.com`; an empty one stays empty.

    It is shown to members who have no permission to know whose address it is.
    """
    name, at, domain = address.rpartition("@") if "@" in address else (address, "", "")
    start = name[0] if len(name) > 1 else ""
    return f"{start}•••{at}{domain}" if address else ""


@dataclass(frozen=True)
class NamedAddress:
    """An address with a name: `email` is in normal form, `name` may be empty."""

    email: str
    name: str = ""

    def masked(self) -> NamedAddress:
        """The same address, masked and without its name."""
        return NamedAddress(masked_address(self.email))

    def __str__(self) -> str:
        """The form that parse_named_address() and split_addresses() can read."""
        name = f'"{quote(self.name)}"' if _NEEDS_QUOTES.search(self.name) else self.name
        return f"{name} <{self.email}>" if name else self.email


_NEEDS_QUOTES = re.compile(r'[",;<>\\]')
_SEVERAL = re.compile(r"[,;<>]")


def parse_named_address(text: str) -> NamedAddress:
    """Parse `Ana Silva <ana@example.com>`, `"Silva, Ana" <…>` or a bare address.

    Raises ValidationError.
    """
    person = read_named_address(text)
    return NamedAddress(validate_address(person.email), person.name)


def read_named_address(text: str) -> NamedAddress:
    """As parse_named_address(), but leave the address as written and unvalidated.

    Raises NotOneAddress.
    """
    if _FORBIDDEN_IN_NAME.search(text):
        raise NotOneAddress(_invisible(text))
    text = text.strip()
    if not text.endswith(">"):
        return NamedAddress(_one_address(text))
    parts = _NAMED_ADDRESS.fullmatch(text)
    if parts is None:
        raise NotOneAddress(_not_an_address(text[:-1].rpartition("<")[2]))
    name, address = parts[1].strip(), parts[2]
    if re.fullmatch(_QUOTED, name):
        return NamedAddress(address, unquote(name).strip())
    if _SEVERAL.search(name):
        raise NotOneAddress(f"“{printable(text)}” is more than one entry. Put a name that has a comma in quotes.")
    return NamedAddress(address, name)


# Each part matches as a whole and never backtracks, so that the time grows only with the length of the text.
_ENTRY = re.compile(rf'(?:{_QUOTED}|[^";,\t]+|")+')


def split_addresses(text: str) -> list[str]:
    """Split a pasted list into its entries and drop empty ones.

    Entries are separated by line breaks, commas, semicolons or tabs (a spreadsheet's cells). A comma inside quotes belongs to a
    name.
    """
    return [entry for line in text.splitlines() for entry in map(str.strip, _ENTRY.findall(line)) if entry]
