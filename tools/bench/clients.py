"""SMTP clients to compare with. They store nothing and only send."""

from __future__ import annotations

import asyncio
import smtplib
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

MAIL = b"From: bench@example.com\r\nTo: to@example.com\r\nSubject: Bench\r\n\r\n" + (b"x" * 76 + b"\r\n") * 25
SENDER, TO = "bench@example.com", "to@example.com"
_ENVELOPE = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{TO}>\r\nDATA\r\n".encode()


def smtplib_threads(port: int, mails: int, connections: int) -> None:
    """Send with Python's own client over connections that stay open."""

    def send(count: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as smtp:
            for _ in range(count):
                smtp.sendmail(SENDER, [TO], MAIL)

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(send, [mails // connections] * connections))


def pipelined(port: int, mails: int, connections: int) -> None:
    """Send as fast as possible: content and next envelope in one flight (RFC 2920), with nothing stored or checked."""

    async def send(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"EHLO bench\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        writer.write(_ENVELOPE)
        for number in range(count):
            for _ in range(3 + (number > 0)):
                await reader.readline()
            writer.write(MAIL + b".\r\n" + (_ENVELOPE if number + 1 < count else b"QUIT\r\n"))
        await reader.readline()
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(send(mails // connections) for _ in range(connections)))

    asyncio.run(all_of_them())


def load(port: int, mails: int, sessions: int, username: str = "", password: str = "") -> dict[str, float]:
    """Return messages a second that a gateway accepts from many sessions at once, and the median from MAIL to 250, in ms."""
    seconds: list[float] = []

    async def session(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def said() -> bytes:
            while (line := await reader.readline())[3:4] == b"-":
                pass
            assert line[:1] in b"23", line
            return line

        async def ask(line: bytes) -> None:
            writer.write(line)
            await said()

        await said()
        await ask(b"EHLO bench\r\n")
        if username:
            await ask(b"AUTH PLAIN " + _base64(f"\0{username}\0{password}") + b"\r\n")
        for _ in range(count):
            began = time.perf_counter()
            for line in (*(line + b"\r\n" for line in _ENVELOPE.split(b"\r\n")[:3]), MAIL + b".\r\n"):
                await ask(line)
            seconds.append(time.perf_counter() - began)
        writer.write(b"QUIT\r\n")
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(session(mails // sessions) for _ in range(sessions)))

    began = time.perf_counter()
    asyncio.run(all_of_them())
    return {"rate": len(seconds) / (time.perf_counter() - began), "p50_ms": statistics.median(seconds) * 1000}


def _base64(text: str) -> bytes:
    import base64

    return base64.b64encode(text.encode())
