"""python -m tools.bench.server PORT DELAY_MS: an SMTP server that accepts everything and stores nothing.

It answers DELAY_MS later, as a distant server would. When it ends, it prints how many messages came in how many seconds.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

_CAPABILITIES = b"250-sink\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n"


class Sink(asyncio.Protocol):
    delay = 0.0
    moments: list[float] = []  # one server per process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.buffer, self.in_content = transport, b"", False
        self.say(b"220 sink\r\n")

    def say(self, answer: bytes) -> None:
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
        else:
            self.transport.write(answer)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        answers = []
        while True:
            if self.in_content:
                content, dot, rest = self.buffer.partition(b"\r\n.\r\n")
                if not dot:
                    self.buffer = content[-4:] if len(content) > 1_000_000 else content
                    break
                self.buffer, self.in_content = rest, False
                self.moments.append(time.monotonic())
                answers.append(b"250 Ok\r\n")
                continue
            line, end, rest = self.buffer.partition(b"\r\n")
            if not end:
                break
            self.buffer = rest
            answers.append(self.answer(line))
        if answers:
            self.say(b"".join(answers))

    def answer(self, line: bytes) -> bytes:
        command = line[:4].upper()
        if command == b"EHLO":
            return _CAPABILITIES
        if command == b"DATA":
            self.in_content = True
            return b"354 go on\r\n"
        if command == b"QUIT":
            asyncio.get_running_loop().call_later(self.delay + 0.1, self.transport.close)
            return b"221 bye\r\n"
        return b"250 Ok\r\n"


async def main(port: int, delay_ms: float) -> None:
    Sink.delay = delay_ms / 1000
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    print("listening", flush=True)
    async with server:
        await stop.wait()
    seconds = Sink.moments[-1] - Sink.moments[0] if Sink.moments else 0.0
    print(json.dumps({"mails": len(Sink.moments), "seconds": seconds}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
