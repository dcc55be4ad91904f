"""What the gateway takes for a mail's content, however the network cuts it into pieces."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data_reader import read_content
from gateway.exceptions import ContentRefused

NEXT = b"MAIL FROM:<.>\r\n.\r\nQUIT\r\n"


def read(pieces: Sequence[bytes], most_bytes: int = 100_000) -> tuple[bytes | str, bytes]:
    """The content, or why it is refused; and what is left of the connection."""

    async def hear() -> tuple[bytes | str, bytes]:
        reader = asyncio.StreamReader(limit=1001)  # aiosmtpd's

        async def network() -> None:
            for piece in pieces:
                reader.feed_data(piece)
                await asyncio.sleep(0)

        sending = asyncio.create_task(network())
        try:
            content: bytes | str = await read_content(reader, most_bytes)
        except ContentRefused as refused:
            content = str(refused)
        await sending
        reader.feed_eof()
        return content, await reader.read()

    return asyncio.run(hear())


def cut(stream: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(ends)]


def as_sent(lines: Sequence[bytes]) -> bytes:
    """RFC 5321 section 4.5.2: a line that begins with a dot gets another."""
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines) + b".\r\n"


LINES = st.lists(st.text(alphabet=".a\r\n", max_size=8).map(str.encode).filter(lambda line: b"\r\n" not in line), max_size=8)
PLACES = st.lists(st.integers(0, 200), max_size=8)


@given(LINES, PLACES)
def test_the_content_is_what_was_sent_and_the_next_command_stays(lines, places):
    expected = b"".join(line + b"\r\n" for line in lines)
    assert read(cut(as_sent(lines) + NEXT, places)) == (expected, NEXT)


@given(st.lists(st.integers(0, 9000).map(lambda length: b"x" * length), min_size=1, max_size=6), PLACES)
def test_lines_may_have_any_length(lines, places):
    content, left = read(cut(as_sent(lines) + NEXT, [place * 37 for place in places]))
    assert (content, left) == (b"".join(line + b"\r\n" for line in lines), NEXT)


@pytest.mark.parametrize(("size", "accepted"), [(5000, True), (5002, False), (50_000, False), (500_000, False)])
def test_too_much_is_read_to_its_end_and_refused(size, accepted):
    sent = (b"x" * 48 + b"\r\n") * (size // 50) + b"\r\n" * (size % 50 // 2)
    stream = sent + b".\r\n"
    content, left = read(cut(stream + NEXT, range(0, len(stream), 777)), 5000)
    assert left == NEXT
    assert content == (sent if accepted else "552 5.3.4 The email is too large; at most 5,000 bytes are accepted.")


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r\n.\x00\r\n"])
def test_no_other_line_breaks_end_a_mail_so_that_none_is_smuggled_in(end):
    inside = b"Subject: one\r\n\r\nHello" + end + b"MAIL FROM:<evil@example.com>\r\n"
    content, left = read([inside + b".\r\n" + NEXT])
    assert isinstance(content, bytes)
    assert content.endswith(b"MAIL FROM:<evil@example.com>\r\n")
    assert left == NEXT
