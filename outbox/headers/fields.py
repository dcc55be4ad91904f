"""One header field as every server accepts it: in ASCII, and in lines of at most 998 bytes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from email.header import Header
from email.utils import quote, unquote
from itertools import groupby
from urllib.parse import quote as percent_encoded

from common.addresses import NamedAddress, has_wire_form, wire_address
from outbox.headers.mailboxes import read_mailboxes
from outbox.headers.parser import readable

# RFC 5322 section 2.1.1: a line has at most 998 characters; folded well below.
LONGEST_LINE = 998
_FOLD_AT = 900
# A name can't be folded. No honest field has such a long one.
_LONGEST_NAME = 500
# A line of white space alone ends the header for some programs.
_EMPTY_LINE = re.compile(rb"\r\n[ \t]*\r\n")
_OF_ADDRESSES = re.compile(rb"(x-original-)?(from|sender|reply-to|to|cc|resent-(from|sender|to|cc))", re.IGNORECASE)
_OF_PARAMETERS = re.compile(rb"content-(type|disposition)", re.IGNORECASE)
_OF_TEXT = re.compile(rb"subject|comments|content-description", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z0-9-]+)=("(?:[^"\\]|\\.)*"|[^\s;"]+)')


def transportable(raw: bytes) -> bytes:
    """The field `raw`, with its line ends, unchanged where every server accepts it as it is."""
    if raw.isascii() and (_is_one_short_line(raw) or _has_short_lines(raw)):
        return raw
    name, _, value = raw.partition(b":")
    name = name.strip()[:_LONGEST_NAME]
    return folded(b" ".join([name + b":", *_encoded(name, value).split()]))


def _is_one_short_line(raw: bytes) -> bool:
    """Whether the field is one short line, as most are."""
    return len(raw) <= LONGEST_LINE and raw.find(b"\n") == len(raw) - 1


def _has_short_lines(raw: bytes) -> bool:
    return not _EMPTY_LINE.search(raw) and all(len(line) <= LONGEST_LINE for line in raw.split(b"\r\n"))


def folded(line: bytes) -> bytes:
    """One header field, given as one line, folded into lines that every server accepts, with its line end."""
    if len(line) <= _FOLD_AT:
        return line + b"\r\n"
    lines = [b""]
    for word in line.split():
        for piece in _pieces(word):
            if lines[-1] and len(lines[-1]) + 1 + len(piece) <= _FOLD_AT:
                lines[-1] += b" " + piece
            elif lines[-1]:
                lines.append(piece)
            else:
                lines[-1] = piece
    return b"\r\n ".join(lines) + b"\r\n"


def encoded_words(text: str) -> bytes:
    """`text` for a header: as it is when ASCII, else in encoded words (RFC 2047)."""
    return text.encode() if text.isascii() else Header(text, "utf-8").encode(linesep="").encode()


def address_header(people: Sequence[NamedAddress]) -> bytes:
    """The value of a To or From header: names quoted or encoded where needed.

    An address that can't be used, however it came into the database, is left out: a line break would end the field.
    """
    return b", ".join(_mailbox(person) for person in people if has_wire_form(person.email))


def _mailbox(person: NamedAddress) -> bytes:
    text = " ".join(person.name.split())
    if not text:
        return person.email.encode()
    name = f'"{quote(text)}"'.encode() if text.isascii() else encoded_words(text)
    return name + b" <" + person.email.encode() + b">"


def _pieces(word: bytes) -> Iterator[bytes]:
    """The pieces of a word that is longer than a line.

    It is broken after a comma or semicolon where possible, because a space changes nothing there.
    """
    while len(word) > _FOLD_AT:
        end = 1 + max(word.rfind(b",", 0, _FOLD_AT), word.rfind(b";", 0, _FOLD_AT)) or _FOLD_AT
        yield word[:end]
        word = word[end:]
    yield word


def _encoded(name: bytes, value: bytes) -> bytes:
    """The value in ASCII, as far as its addresses allow. An address with other letters before the @-sign needs SMTPUTF8."""
    if value.isascii():
        has_long_word = _OF_TEXT.fullmatch(name) and any(len(word) > _FOLD_AT for word in value.split())
        return _in_words(value.decode(), _is_long) if has_long_word else value
    text = _decoded(value)
    if _OF_ADDRESSES.fullmatch(name):
        people, complete = read_mailboxes(text)
        if people and complete and all(has_wire_form(person.address) for person in people):
            return address_header(
                [NamedAddress(wire_address(person.address), readable(person.name.encode())) for person in people]
            )
    if _OF_PARAMETERS.fullmatch(name):
        text = _PARAMETER.sub(_parameter, text)
    return _in_words(readable(text.encode("utf-8", "replace")), _is_foreign)


def _decoded(value: bytes) -> str:
    """The value as text. Raw letters are UTF-8, or else most likely those of old Windows programs."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def _in_words(text: str, needs_it: Callable[[str], bool]) -> bytes:
    """The text with the words that need it, and the spaces between them, in encoded words."""
    parts = []
    for needed, words in groupby(text.split(" "), needs_it):
        part = " ".join(words)
        parts.append(Header(part, "utf-8").encode(linesep="") if needed else part)
    return " ".join(parts).encode()


def _is_foreign(word: str) -> bool:
    return not word.isascii()


def _is_long(word: str) -> bool:
    return len(word) > _FOLD_AT


def _parameter(match: re.Match[str]) -> str:
    """A parameter as RFC 2231 has it: `filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf`."""
    name, value = match[1], match[2]
    if value.isascii():
        return match[0]
    return f"{name}*=utf-8''{percent_encoded(unquote(value), safe='')}"
