"""A gateway in this process, and a client that speaks to one line by line."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import gateway.server
from organization.credentials import NewCredential
from tests.support.portal import eventually
from tests.support.smtp_server import listening, reserved_port


@contextmanager
def gateway_thread() -> Iterator[int]:
    """Run a gateway on a thread and yield its port. It ends as the process does on SIGTERM."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    with reserved_port() as port:
        thread = threading.Thread(target=loop.run_until_complete, args=(gateway.server.serve("127.0.0.1", port, stop),))
        thread.start()
        try:
            eventually(lambda: listening(port))
            yield port
        finally:  # else pytest waits for the thread of a test that failed
            loop.call_soon_threadsafe(stop.set)
            thread.join(60)
    loop.close()


class Client:
    """One connection. `say` sends a line and returns the last line of the answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.answers = self.socket.makefile("rb")
        self.greeting = self.hear()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.answers.close()
        self.socket.close()

    def hear(self) -> str:
        """Return the last line of an answer, or nothing if the gateway has closed the connection."""
        line = self.answers.readline()
        while line[3:4] == b"-":
            line = self.answers.readline()
        return line.decode().strip()

    def say(self, line: str) -> str:
        self.socket.sendall(line.encode() + b"\r\n")
        return self.hear()

    def sign_in(self, new: NewCredential) -> None:
        assert self.say("EHLO client.example").startswith("250")
        secret = f"\0{new.credential.username}\0{new.password}".encode()
        assert self.say(f"AUTH PLAIN {base64.b64encode(secret).decode()}").startswith("235")

    def begin_mail(self, *recipients: str) -> None:
        """Send the commands up to DATA, so that the content comes next."""
        assert self.say("MAIL FROM:<crm@acme.example>").startswith("250")
        for recipient in recipients or ("customer@example.com",):
            assert self.say(f"RCPT TO:<{recipient}>").startswith("250")
        assert self.say("DATA").startswith("354")
