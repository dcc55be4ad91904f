"""The content that a client sends after DATA, up to the line with a single dot (RFC 5321 section 4.1.1.4).

aiosmtpd's own reads line by line: a mail of 25 MiB keeps every other client of the gateway waiting for seconds.
"""

from __future__ import annotations

import asyncio

from gateway.exceptions import ContentRefused

_BREAK = b"\r\n"
_LAST_LINE = b"." + _BREAK
_END = _BREAK + _LAST_LINE


async def read_content(reader: asyncio.StreamReader, most_bytes: int) -> bytes:
    """The content, with transparency undone (RFC 5321 section 4.5.2). Only CRLF ends a line here: a dot between other line
    breaks is content. Lines may have any length; what they are at the stage's server is for delivery to see to.

    Raises ContentRefused when it has more than `most_bytes`. Then, too, all of it has been read.
    """
    read = bytearray(_BREAK)  # the end of the line before: the very first may be the last
    dropped = False
    while not read.endswith(_END):
        if len(read) > most_bytes + len(_END):
            dropped = True
            del read[: -len(_END)]
        read += await _piece(reader)
    if dropped or len(read) > most_bytes + len(_END):
        raise ContentRefused(f"552 5.3.4 The mail is too large; at most {most_bytes:,} bytes are accepted.")
    return bytes(read.replace(_BREAK + b"..", _BREAK + b".")[len(_BREAK) : -len(_LAST_LINE)])


async def _piece(reader: asyncio.StreamReader) -> bytes:
    """What is there, but nothing behind what may be the last line: there the next command begins."""
    try:
        return await reader.readuntil(_LAST_LINE)
    except asyncio.LimitOverrunError as longer:
        return await reader.read(longer.consumed)
