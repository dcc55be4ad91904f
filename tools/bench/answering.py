"""python -m tools.bench.answering PORT: aiosmtpd that answers 250 and stores nothing.

This is the limit for a gateway that is made with aiosmtpd.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        return "250 Ok"


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="bench", loop=loop), "127.0.0.1", port)
    print("listening", flush=True)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
