"""Read the content after DATA up to the final dot (RFC 5321 section 4.1.1.4).

aiosmtpd's own reader works line by line. With a message of 25 MiB, every other client of the gateway would wait for seconds.
"""

from __future__ import annotations

import asyncio

from gateway.exceptions import ContentRefused

_BREAK = b"\r\n"
_LAST_LINE = b"." + _BREAK
_END = _BREAK + _LAST_LINE


async def read_content(reader: asyncio.StreamReader, most_bytes: int) -> bytes:
    """The content, with transparency undone (RFC 5321 section 4.5.2).

    Only CRLF ends a line, so that a dot between other line breaks is content. Lines may have any length: delivery makes them fit
    for the stage's server. Raises ContentRefused if the content has more than `most_bytes`. In that case, too, all of it has been
    read.
    """
    read = bytearray(_BREAK)  # the end of the line before, because the first line may be the last
    dropped = False
    while not read.endswith(_END):
        if len(read) > most_bytes + len(_END):
            dropped = True
            del read[: -len(_END)]
        read += await _piece(reader)
    if dropped or len(read) > most_bytes + len(_END):
        raise ContentRefused(f"552 5.3.4 The email is too large; at most {most_bytes:,} bytes are accepted.")
    return bytes(read.replace(_BREAK + b"..", _BREAK + b".")[len(_BREAK) : -len(_LAST_LINE)])


async def _piece(reader: asyncio.StreamReader) -> bytes:
    """The bytes that have arrived, up to what may be the last line.

    The next command may follow that line.
    """
    try:
        return await reader.readuntil(_LAST_LINE)
    except asyncio.LimitOverrunError as longer:
        return await reader.read(longer.consumed)
