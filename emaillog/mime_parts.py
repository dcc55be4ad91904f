"""Parse a message into its parts. Pure, and quick whatever the bytes are.

The standard library's parser builds the whole tree line by line, and nothing can stop it. Two megabytes of small parts would
block a process for hours. This parser reads only header blocks as lines, and searches for boundaries one level at a time.
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

# A multipart that is nested deeper than this isn't split.
DEPTH_AT_MOST = 10
_HEADER_AT_MOST = 256 * 1024
_PART_HEADER_AT_MOST = 8 * 1024
_FIELD_AT_MOST = 1200
_BOUNDARY_AT_MOST = 200
_MOST_BYTES_OF_A_LETTER = 4
_STRUCTURE = ("Content-Type", "Content-Disposition", "Content-ID", "Content-Transfer-Encoding")
# Programs name ASCII when they don't know the real charset. The other two take time that grows with the square of the length.
_CHARSETS_NOT_USED = ("", "us-ascii", "ascii", "idna", "punycode")


@dataclass(frozen=True)
class Part:
    """A part without parts of its own. A message within the message is such a part."""

    content_type: str
    charset: str
    disposition: str
    filename: str
    content_id: str
    encoding: str
    content: bytes = field(repr=False)  # of the whole message; the part goes from start to end
    start: int
    end: int

    def data(self) -> bytes:
        """Return the decoded bytes, or the original bytes if they can't be decoded."""
        raw = memoryview(self.content)[self.start : self.end]  # not copied, because it may have megabytes
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(raw)
        if self.encoding == "base64":
            with contextlib.suppress(binascii.Error):
                return binascii.a2b_base64(raw)
            with contextlib.suppress(binascii.Error):
                return binascii.a2b_base64(bytes(raw) + b"==")  # the end may be missing
        return bytes(raw)

    def text(self, at_most: int) -> tuple[str, bool]:
        """Return the first characters, and whether these are all."""
        data = self.data()
        start = data[: at_most * _MOST_BYTES_OF_A_LETTER]
        text = _decoded(start, self.charset, is_cut=len(start) < len(data)).replace("\r\n", "\n")
        return text[:at_most], len(start) == len(data) and len(text) <= at_most


def parts_of(content: bytes) -> Iterator[Part]:
    """Yield the parts in their order. Each is read only when it is needed."""
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
        content_type = "text/plain"  # it claims to have parts, but has none
    yield _leaf(header, content_type, content, start, end)


def _read_header(block: bytes, default_type: str) -> tuple[EmailHeader, int]:
    """Return the fields that say what a part is, and the position in `block` at which its body starts."""
    fields, body = split_header(block)
    header = EmailHeader()
    header.set_default_type(default_type)
    for name in _STRUCTURE:
        for value in header_values(fields, name.lower().encode())[:1]:
            header[name] = value[:_FIELD_AT_MOST].decode("utf-8", "replace")
    return header, len(block) - len(body)


def _split(content: bytes, start: int, end: int, boundary: str) -> Iterator[tuple[int, int]]:
    """Yield where each part of a multipart starts and ends."""
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
    """Return what a header says, or nothing if the standard library raises on it."""
    try:
        return read() or ""
    except Exception:  # several kinds, depending on the charset that a parameter names
        return ""


def _decoded(data: bytes, charset: str, *, is_cut: bool) -> str:
    """Decode the text by its charset. If that is missing or unknown, try UTF-8 and then the charset of old Windows programs."""
    try:
        text = _guessed(data, is_cut=is_cut) if charset in _CHARSETS_NOT_USED else data.decode(charset, "replace")
    except (LookupError, ValueError):
        text = _guessed(data, is_cut=is_cut)
    return text.encode("utf-8", "replace").decode()  # some codecs give halves of characters, which no page can contain


def _guessed(data: bytes, *, is_cut: bool) -> str:
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, not is_cut)  # the cut may split a character
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
