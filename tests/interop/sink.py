"""python -m tests.interop.sink PORT SECONDS: an SMTP server that accepts every message.

It answers so many seconds after the content. It prints the time of each answer and the Message-ID.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress

_EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError):  # a client that was killed
        await session(reader, writer, delay)
    writer.close()


async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    writer.write(b"220 sink.test\r\n")
    while line := await reader.readline():
        command = line[:4].upper()
        if command == b"DATA":
            writer.write(b"354 go on\r\n")
            await writer.drain()
            content = await reader.readuntil(b"\r\n.\r\n")
            await asyncio.sleep(delay)
            writer.write(b"250 Ok\r\n")
            header = next(field for field in content.split(b"\r\n") if field.lower().startswith(b"message-id:"))
            print(time.time(), header.split(b":", 1)[1].strip().decode(), flush=True)
        elif command == b"QUIT":
            writer.write(b"221 bye\r\n")
            break
        else:
            writer.write(_EHLO if command == b"EHLO" else b"250 Ok\r\n")
        await writer.drain()


async def main(port: int, delay: float) -> None:
    server = await asyncio.start_server(lambda reader, writer: serve(reader, writer, delay), "127.0.0.1", port, limit=2**20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
