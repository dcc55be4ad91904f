"""Split a message's bytes into header fields and body, and read the fields. Pure.

Only the header block is parsed. The body stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from functools import lru_cache
from typing import NamedTuple

from common.addresses import NamedAddress
from outbox.headers.mailboxes import Mailboxes, read_mailboxes

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_CALENDAR = (b"text/calendar", b"TEXT/CALENDAR", b"Text/Calendar", b"application/ics")
_ENCODED_WORD = r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?="
_ENCODED_WORDS = re.compile(rf"{_ENCODED_WORD}(?:\s+{_ENCODED_WORD})*")
_MBOX_LINE = re.compile(rb">?From ")


class HeaderField(NamedTuple):
    """One header field: `name` in lower case, `raw` all its lines with their line ends."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What follows the colon, in one line."""
        return b" ".join(self.raw.partition(b":")[2].split())


def with_crlf(content: bytes) -> bytes:
    """The content with SMTP's line ends. A lone CR or LF could end the message early at another server (smuggling)."""
    if content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r"):
        return content
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def holds_invitation(content: bytes) -> bool:
    """Whether a part of the message is a calendar's. The body isn't parsed for it, because it may have megabytes."""
    return any(kind in content for kind in _CALENDAR)


def split_header(content: bytes) -> tuple[list[HeaderField], bytes]:
    """The header fields in their order, and the body.

    The body starts after the first empty line, or with the first line that is neither a field nor its continuation. Many apps
    forget the empty line, and Postfix reads them the same way. The first line of a mailbox file (`From `) belongs to neither.
    """
    fields: list[HeaderField] = []
    name, lines = b"", list[bytes]()
    position = _end_of_line(content, 0) if _MBOX_LINE.match(content) else 0
    while position < len(content):
        end = _end_of_line(content, position)
        line = content[position:end]
        field = _FIELD.match(line)
        if not field and not (lines and line[:1] in (b" ", b"\t")):
            break
        if field and lines:
            fields.append(HeaderField(name, b"".join(lines)))
            lines = []
        name = field[1].lower() if field else name
        lines.append(line if line.endswith(b"\r\n") else line + b"\r\n")
        position = end
    if lines:
        fields.append(HeaderField(name, b"".join(lines)))
    return fields, content[position + 2 if content.startswith(b"\r\n", position) else position :]


def _end_of_line(content: bytes, start: int) -> int:
    end = content.find(b"\r\n", start)
    return len(content) if end < 0 else end + 2


def header_values(fields: Iterable[HeaderField], name: bytes) -> list[bytes]:
    return [field.value for field in fields if field.name == name]


def readable(value: bytes) -> str:
    """A header value as a person reads it: encoded words decoded, nothing that breaks a line or a database."""
    text = _ENCODED_WORDS.sub(_decoded, value.decode("utf-8", "replace"))
    text = text.encode("utf-8", "replace").decode().replace("\x00", "")
    return " ".join(text.split())


def _decoded(words: re.Match[str]) -> str:
    """The decoded words. Words that can't be decoded stay as they are."""
    try:
        return str(make_header(decode_header(words[0])))
    except (HeaderParseError, LookupError, ValueError):
        return words[0]


def mailboxes_in(values: Iterable[bytes]) -> Mailboxes:
    """The mailboxes in address headers, and whether the headers can name no others."""
    text = ", ".join(value.decode("utf-8", "replace") for value in values)
    return _mailboxes_read_before(text) if len(text) <= _REMEMBERED_LENGTH else read_mailboxes(text)


def addresses_in(values: Iterable[bytes]) -> list[NamedAddress]:
    """The people named in address headers, as far as they can be read."""
    return [NamedAddress(person.address, readable(person.name.encode())) for person in mailboxes_in(values).people]


# Most messages repeat the same few senders, so their headers are cached.
_REMEMBERED_LENGTH = 300
_mailboxes_read_before = lru_cache(maxsize=1000)(read_mailboxes)
