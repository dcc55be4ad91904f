"""Re-encode the parts of a message whose lines have more than 998 bytes, which some servers refuse. Pure.

RFC 5322 section 2.1.1 sets that limit. Only the parts with long lines change. A signed message stays as it is, because a
signature covers its bytes.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser

LONGEST = 998
_ENCODED_LINE = 76
_DEEPEST = 50
SIGNED = "The email is signed or encrypted, so its long lines can't be re-encoded."
NO_LONG_PART = "No part of the email has a line of more than 998 bytes that could be re-encoded."
_SIGNED_TYPES = re.compile(r"multipart/(signed|encrypted)|application/(x-)?pkcs7-(mime|signature)")
_ENCODING_FIELD = re.compile(rb"^content-transfer-encoding:.*\r\n(?:[ \t].*\r\n)*", re.IGNORECASE | re.MULTILINE)


def why_not(content: bytes) -> str:
    """Why the message can't be re-encoded; empty when it can."""
    if any(_is_signed(header) for header in _headers(content)):
        return SIGNED
    return NO_LONG_PART if with_short_lines(content) == content else ""


def with_short_lines(content: bytes) -> bytes:
    """The message with its long parts as base64, or as quoted-printable where they are text."""
    return _shortened(content, depth=0)


def _shortened(part: bytes, depth: int) -> bytes:
    header, body = _split(part)
    if not _is_long(body) or depth > _DEEPEST:
        return part
    fields = _parsed(header)
    kind = fields.get_content_maintype()
    if kind == "multipart" and (boundary := _boundary(fields)):
        return header + _multipart(body, boundary, depth)
    if kind == "message":
        return header + (_shortened(body, depth + 1) if fields.get_content_type() == "message/rfc822" else body)
    encoded, encoding = _encoded(body, str(fields.get("content-transfer-encoding", "")).strip().lower(), is_text=kind == "text")
    return _with_encoding(header, fields, encoding, at_the_top=depth == 0) + encoded


def _multipart(body: bytes, boundary: bytes, depth: int) -> bytes:
    """The multipart body with short lines in each of its parts.

    Every second piece is a delimiter. No mail program shows the text before the first part and after the last, so that text is
    removed where its lines are long.
    """
    before, *pieces = _pieces(body, boundary)
    delimiters, parts = pieces[::2], pieces[1::2]
    shortened = [b"" if _is_long(before) else before]
    for delimiter, part in zip(delimiters, parts, strict=True):
        shortened.append(delimiter)
        if delimiter.rstrip().endswith(b"--" + boundary + b"--"):
            shortened.append(b"" if _is_long(part) else part)
        else:
            shortened.append(_shortened(part, depth + 1))
    return b"".join(shortened)


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """The body split at its delimiters. The line end before a delimiter belongs to it (RFC 2046 section 5.1.1)."""
    return re.split(rb"((?:^|\r\n)--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?:\r\n|\Z))", body)


def _encoded(body: bytes, encoding: str, *, is_text: bool) -> tuple[bytes, bytes]:
    """The body with short lines, and its encoding."""
    if encoding == "base64":
        return _wrapped(b"".join(body.split())), b"base64"
    if encoding == "quoted-printable":
        return _quoted_printable(binascii.a2b_qp(body)), b"quoted-printable"
    if is_text:
        return _quoted_printable(body), b"quoted-printable"
    return _wrapped(binascii.b2a_base64(body, newline=False)), b"base64"


def _wrapped(text: bytes) -> bytes:
    return b"\r\n".join(text[start : start + _ENCODED_LINE] for start in range(0, len(text), _ENCODED_LINE)) + b"\r\n"


def _quoted_printable(text: bytes) -> bytes:
    lines = text.split(b"\r\n")
    return b"\r\n".join(binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in lines)


def _with_encoding(header: bytes, fields: Message, encoding: bytes, *, at_the_top: bool) -> bytes:
    kept = _ENCODING_FIELD.sub(b"", header.removesuffix(b"\r\n"))
    if at_the_top and "mime-version" not in fields:
        kept += b"MIME-Version: 1.0\r\n"
    return kept + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n"


def _headers(part: bytes, depth: int = 0) -> Iterator[Message]:
    """The header of the message, and of each part and message in it."""
    header, body = _split(part)
    fields = _parsed(header)
    yield fields
    if depth > _DEEPEST:
        return
    boundary = _boundary(fields)
    if boundary and fields.get_content_maintype() == "multipart":
        for inner in _pieces(body, boundary)[2::2]:
            yield from _headers(inner, depth + 1)
    elif fields.get_content_type() == "message/rfc822":
        yield from _headers(body, depth + 1)


def _is_signed(fields: Message) -> bool:
    return "dkim-signature" in fields or bool(_SIGNED_TYPES.fullmatch(fields.get_content_type()))


def _is_long(text: bytes) -> bool:
    return any(len(line.removesuffix(b"\r")) > LONGEST for line in text.split(b"\n"))


def _split(part: bytes) -> tuple[bytes, bytes]:
    """The header with its closing empty line, and the body."""
    if part.startswith(b"\r\n"):
        return b"\r\n", part[2:]
    header, end, body = part.partition(b"\r\n\r\n")
    return (header + end, body) if end else (part, b"")


def _parsed(header: bytes) -> Message:
    return BytesHeaderParser().parsebytes(header)


def _boundary(fields: Message) -> bytes:
    boundary = fields.get_boundary()
    return boundary.encode("utf-8", "surrogateescape") if boundary else b""
