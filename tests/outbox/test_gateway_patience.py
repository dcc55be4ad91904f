"""How long the gateway listens to a client that says nothing. No database: nobody signs in."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import outbox.gateway
from tests.conftest import eventually
from tests.smtp_server import listening, reserved_port

PATIENCE = 1.0


@pytest.fixture
def impatient_gateway(monkeypatch) -> Iterator[int]:
    monkeypatch.setattr(outbox.gateway, "COMMAND_TIMEOUT_SECONDS", PATIENCE)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    with reserved_port() as port:
        thread = threading.Thread(target=loop.run_until_complete, args=(outbox.gateway.serve("127.0.0.1", port, stop),))
        thread.start()
        eventually(lambda: listening(port))
        yield port
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
    loop.close()


def test_whoever_says_something_in_time_is_listened_to_and_whoever_does_not_is_shown_out(impatient_gateway):
    with socket.create_connection(("127.0.0.1", impatient_gateway), timeout=60) as client, client.makefile("rb") as answers:
        answers.readline()
        for _ in range(6):
            time.sleep(PATIENCE / 3)
            client.sendall(b"NOOP\r\n")
            assert answers.readline().startswith(b"250")
        heard = time.monotonic()
        assert answers.readline() == b""
        assert time.monotonic() - heard > PATIENCE / 2


def test_whoever_never_says_anything_is_shown_out(impatient_gateway):
    with socket.create_connection(("127.0.0.1", impatient_gateway), timeout=60) as client, client.makefile("rb") as answers:
        assert answers.readline().startswith(b"220")
        assert answers.readline() == b""
