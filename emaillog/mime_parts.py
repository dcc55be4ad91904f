"""Take a message apart into its parts. Pure, and quick whatever the bytes are.

The standard library's parser builds the whole tree, line by line, before anything can stop it: two megabytes of small parts
hold a process for hours. Here only header blocks are read as lines. Boundaries are searched, a level at a time.
"""

from __future__ import annotations

import binascii
import codecs
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message as EmailHeader

from outbox.headers.parser import header_values, readable, split_header

# A multipart nested deeper than this is left whole.
DEPTH_AT_MOST = 10
_HEADER_AT_MOST = 256 * 1024
_PART_HEADER_AT_MOST = 8 * 1024
_FIELD_AT_MOST = 1200
_BOUNDARY_AT_MOST = 200
_MOST_BYTES_OF_A_LETTER = 4
_STRUCTURE = ("Content-Type", "Content-Disposition", "Content-ID", "Content-Transfer-Encoding")
# ASCII is what programs name that don't know better. The other two take time that grows with the square of the length.
_CHARSETS_NOT_USED = ("", "us-ascii", "ascii", "idna", "punycode")


@dataclass(frozen=True)
class Part:
    """A part without parts of its own. A message within the message is one of these."""

    content_type: str
    charset: str
    disposition: str
    filename: str
    content_id: str
    encoding: str
    content: bytes = field(repr=False)  # of the whole message: the part goes from start to end
    start: int
    end: int

    def data(self) -> bytes:
        """The decoded bytes; as they came where they can't be decoded."""
        raw = memoryview(self.content)[self.start : self.end]  # it may have megabytes: not copied
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(raw)
        if self.encoding == "base64":
            with contextlib.suppress(binascii.Error):
                return binascii.a2b_base64(raw)
            with contextlib.suppress(binascii.Error):
                return binascii.a2b_base64(bytes(raw) + b"==")  # the end may be missing
        return bytes(raw)

    def text(self, at_most: int) -> tuple[str, bool]:
        """The first characters, and whether that is all of them."""
        data = self.data()
        start = data[: at_most * _MOST_BYTES_OF_A_LETTER]
        text = _decoded(start, self.charset, is_cut=len(start) < len(data)).replace("\r\n", "\n")
        return text[:at_most], len(start) == len(data) and len(text) <= at_most


def parts_of(content: bytes) -> Iterator[Part]:
    """The parts in their order. Each is read when it is asked for."""
    return _walk(content, 0, len(content), depth=0, default_type="text/plain")


def _walk(content: bytes, start: int, end: int, *, depth: int, default_type: str) -> Iterator[Part]:
    block = content[start : min(end, start + (_PART_HEADER_AT_MOST if depth else _HEADER_AT_MOST))]
    header, body = _read_header(block, default_type)
    start += body
    content_type = header.get_content_type()
    if content_type.startswith("multipart/") and depth < DEPTH_AT_MOST:
        is_split, inner_type = False, "message/rfc822" if content_type == "multipart/digest" else "text/plain"
        for inner_start, inner_end in _split(content, start, end, _told(header.get_boundary)):
            is_split = True
            yield from _walk(content, inner_start, inner_end, depth=depth + 1, default_type=inner_type)
        if is_split:
            return
        content_type = "text/plain"  # it says that it has parts, but has none
    yield _leaf(header, content_type, content, start, end)


def _read_header(block: bytes, default_type: str) -> tuple[EmailHeader, int]:
    """The fields that say what a part is, and where in `block` its body starts."""
    fields, body = split_header(block)
    header = EmailHeader()
    header.set_default_type(default_type)
    for name in _STRUCTURE:
        for value in header_values(fields, name.lower().encode())[:1]:
            header[name] = value[:_FIELD_AT_MOST].decode("utf-8", "replace")
    return header, len(block) - len(body)


def _split(content: bytes, start: int, end: int, boundary: str) -> Iterator[tuple[int, int]]:
    """Where each part of a multipart starts and ends."""
    if not 0 < len(boundary) <= _BOUNDARY_AT_MOST:
        return
    delimiter = re.compile(rb"\r\n--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    inner_start = None
    for match in delimiter.finditer(content, max(start - 2, 0), end):
        if inner_start is not None:
            yield inner_start, max(inner_start, match.start())
        if match[1]:
            return
        inner_start = min(match.end() + 2, end)
    if inner_start is not None:
        yield inner_start, end


def _leaf(header: EmailHeader, content_type: str, content: bytes, start: int, end: int) -> Part:
    return Part(
        content_type=content_type[:100],
        charset=_told(header.get_content_charset),
        disposition=_told(header.get_content_disposition),
        filename=readable(_told(header.get_filename).encode("utf-8", "replace")),
        content_id=_told(lambda: header["Content-ID"]).strip("<> "),
        encoding=_told(lambda: header["Content-Transfer-Encoding"]).partition(";")[0].strip().lower(),
        content=content,
        start=start,
        end=end,
    )


def _told(read: Callable[[], str | None]) -> str:
    """What a header says; nothing where it makes the standard library raise."""
    try:
        return read() or ""
    except Exception:  # of several kinds, by the charset that a parameter names
        return ""


def _decoded(data: bytes, charset: str, *, is_cut: bool) -> str:
    """The text by its charset. Where that is missing or unknown: UTF-8, else as old Windows programs write."""
    try:
        text = _guessed(data, is_cut=is_cut) if charset in _CHARSETS_NOT_USED else data.decode(charset, "replace")
    except (LookupError, ValueError):
        text = _guessed(data, is_cut=is_cut)
    return text.encode("utf-8", "replace").decode()  # some codecs give halves of characters, which no page can hold


def _guessed(data: bytes, *, is_cut: bool) -> str:
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, not is_cut)  # the cut may go through a letter
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
