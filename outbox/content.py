"""A mail's bytes: what is read from its header at acceptance, and the header it leaves with. Pure.

Only the header block is ever looked at; the body is carried along untouched and never parsed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.utils import format_datetime, getaddresses, quote
from functools import lru_cache
from typing import NamedTuple

from organization.addresses import NamedAddress, same_address_key

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
# RFC 5322 section 2.1.1: a line has at most 998 characters; refolded well below.
_FOLD_AT = 900

# Relays and mail programs that read headers must find nobody but the test list.
_DROPPED_FROM_TEST_MAIL = re.compile(
    rb"to|cc|resent-.*|disposition-notification-to|return-receipt-to|errors-to|apparently-to|dkim-signature|arc-.*"
    rb"|x-original-to|x-original-cc|x-original-reply-to|x-email-app|x-email-stage"
)
_ALWAYS_DROPPED = re.compile(rb"bcc|return-path|resent-bcc")


class HeaderField(NamedTuple):
    """One header field: `name` in lower case, `raw` all its lines with their line ends."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What follows the colon, in one line."""
        return b" ".join(self.raw.partition(b":")[2].split())


def with_crlf(content: bytes) -> bytes:
    """Line ends as SMTP wants them: a lone CR or LF could end the mail early at another server (smuggling)."""
    if content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r"):
        return content
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def split_header(content: bytes) -> tuple[list[HeaderField], bytes]:
    """The header fields in their order and the body, which starts after the first empty line."""
    if content.startswith(b"\r\n"):
        return [], content[2:]
    block, _, body = content.partition(b"\r\n\r\n")
    return _fields(block + b"\r\n"), body


def _fields(block: bytes) -> list[HeaderField]:
    """Lines that are neither a field nor its continuation are dropped: they can't be told from a forged header."""
    fields: list[HeaderField] = []
    for line in block.splitlines(keepends=True):
        if line[:1] in (b" ", b"\t"):
            if fields:
                fields[-1] = HeaderField(fields[-1].name, fields[-1].raw + line)
        elif found := _FIELD.match(line):
            fields.append(HeaderField(found[1].lower(), line))
    return fields


def header_values(fields: Iterable[HeaderField], name: bytes) -> list[bytes]:
    return [field.value for field in fields if field.name == name]


def readable(value: bytes) -> str:
    """A header value as a person reads it: encoded words decoded, nothing that breaks a line or a database."""
    text = value.decode("utf-8", "replace")
    if "=?" in text:
        with contextlib.suppress(HeaderParseError, LookupError, ValueError):  # what can't be decoded is shown as it stands
            text = str(make_header(decode_header(text)))
    text = text.encode("utf-8", "replace").decode().replace("\x00", "")
    return " ".join(text.split())


def addresses_in(values: Iterable[bytes]) -> list[NamedAddress]:
    """The people named in address headers, as far as they can be read."""
    texts = tuple(value.decode("utf-8", "replace") for value in values)
    return list(_addresses_read_before(texts) if sum(map(len, texts)) <= _REMEMBERED_LENGTH else _read_addresses(texts))


def _read_addresses(texts: Sequence[str]) -> list[NamedAddress]:
    try:
        found = getaddresses(texts)
    except RecursionError:  # thousands of nested comments: nobody's honest header
        return []
    return [NamedAddress(email, readable(name.encode())) for name, email in found if "@" in email]


# The same few senders again and again.
_REMEMBERED_LENGTH = 300
_addresses_read_before = lru_cache(maxsize=1000)(_read_addresses)


@dataclass(frozen=True)
class Departure:
    """What decides the header a mail leaves with, beside its bytes."""

    app_key: str
    stage_key: str
    message_id: str
    date: datetime
    test_list: Sequence[NamedAddress] | None = None  # the people, when the mail was routed to the list
    subject_tag: str = ""
    sender: NamedAddress | None = None  # stands in From when the app's own isn't allowed there


@dataclass
class _Header:
    """The header block under construction."""

    fields: list[HeaderField]
    added: list[bytes] = field(default_factory=list)

    def drop(self, names: re.Pattern[bytes]) -> None:
        self.fields = [one for one in self.fields if not names.fullmatch(one.name)]

    def has(self, name: bytes) -> bool:
        return any(one.name == name for one in self.fields)

    def add(self, name: str, value: bytes) -> None:
        self.added.append(_folded(name.encode() + b": " + value))

    def to_bytes(self) -> bytes:
        return b"".join([*self.added, *(one.raw for one in self.fields)]) + b"\r\n"


def outgoing(fields: Sequence[HeaderField], departure: Departure) -> bytes:
    """The header block, with its closing empty line, in which a mail with these `fields` leaves for the server."""
    header = _Header(list(fields))
    header.drop(_ALWAYS_DROPPED)
    _complete(header, departure)
    if departure.sender is not None:
        _replace_sender(header, departure.sender)
    if departure.test_list is not None:
        _address_to_test_list(header, departure, departure.test_list)
    return header.to_bytes()


def _complete(header: _Header, departure: Departure) -> None:
    if not header.has(b"message-id"):
        header.add("Message-ID", departure.message_id.encode())
    if not header.has(b"date"):
        header.add("Date", format_datetime(departure.date).encode())


def _replace_sender(header: _Header, sender: NamedAddress) -> None:
    """The stage's sender stands in From; answers still go to the app's own, unless it named somebody else for them."""
    original = header_values(header.fields, b"from")
    if original and not header.has(b"reply-to"):
        header.fields.append(HeaderField(b"reply-to", _folded(b"Reply-To: " + original[0])))
    header.drop(re.compile(rb"from|sender"))
    header.add("From", address_header([sender]))


def _address_to_test_list(header: _Header, departure: Departure, people: Sequence[NamedAddress]) -> None:
    original_to = header_values(header.fields, b"to")
    original_cc = header_values(header.fields, b"cc")
    header.drop(_DROPPED_FROM_TEST_MAIL)
    header.add("To", address_header(people))
    if original_to:
        header.add("X-Original-To", b", ".join(original_to))
    if original_cc:
        header.add("X-Original-Cc", b", ".join(original_cc))
    header.add("X-Email-App", departure.app_key.encode())
    header.add("X-Email-Stage", departure.stage_key.encode())
    _keep_replies_on_the_list(header, people)
    if departure.subject_tag:
        _tag_subject(header, departure.subject_tag)


def _keep_replies_on_the_list(header: _Header, people: Sequence[NamedAddress]) -> None:
    values = header_values(header.fields, b"reply-to")
    listed = {same_address_key(person.email) for person in people}
    named = {same_address_key(found.email) for found in addresses_in(values)}
    if values and not (named and named <= listed):
        header.drop(re.compile(rb"reply-to"))
        header.add("X-Original-Reply-To", b", ".join(values))


def _tag_subject(header: _Header, tag: str) -> None:
    values = header_values(header.fields, b"subject")
    header.drop(re.compile(rb"subject"))
    # The space stands inside the encoded word: between two of them it would vanish (RFC 2047 section 6.2).
    header.add("Subject", b" ".join([encoded_words(f"[{tag}] "), *values[:1]]))


def encoded_words(text: str) -> bytes:
    """`text` for a header: as it stands when ASCII, else in encoded words (RFC 2047)."""
    return text.encode() if text.isascii() else Header(text, "utf-8").encode(linesep="").encode()


def address_header(people: Sequence[NamedAddress]) -> bytes:
    """The value of a To or From header: names quoted or encoded where needed."""
    return b", ".join(_mailbox(person) for person in people)


def _mailbox(person: NamedAddress) -> bytes:
    if not person.name:
        return person.email.encode()
    name = f'"{quote(person.name)}"'.encode() if person.name.isascii() else encoded_words(person.name)
    return name + b" <" + person.email.encode() + b">"


def _folded(line: bytes) -> bytes:
    """One header field with its line end, broken at spaces into lines that every server takes; no other line breaks."""
    words = line.split()
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > _FOLD_AT:
            lines.append(b" " + word[: _FOLD_AT - 1])
        else:
            lines[-1] += b" " + word
    return b"\r\n".join(lines) + b"\r\n"
