"""How long the gateway listens to a client that says nothing, and what it hears then."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

import gateway.server
from tests.support.gateway_client import gateway_thread

pytestmark = pytest.mark.slow

PATIENCE = 1.0


@pytest.fixture
def impatient_gateway(monkeypatch) -> Iterator[int]:
    """Without a database: nobody signs in."""
    monkeypatch.setattr(gateway.server, "SILENCE_SECONDS", PATIENCE)
    with gateway_thread() as port:
        yield port


def test_a_slow_client_is_served_and_a_silent_one_is_told_why_it_is_disconnected(impatient_gateway, caplog):
    caplog.set_level("INFO", "gateway.server")
    with socket.create_connection(("127.0.0.1", impatient_gateway), timeout=60) as client, client.makefile("rb") as answers:
        answers.readline()
        for _ in range(12):  # one command, for longer than a client may be silent
            time.sleep(PATIENCE / 8)
            client.sendall(b"x")
        client.sendall(b"\r\n")
        assert answers.readline().startswith(b"500")
        heard = time.monotonic()
        assert answers.readline().startswith(b"421 4.4.2 ")
        assert time.monotonic() - heard > PATIENCE / 2
        assert answers.readline() == b""
    assert "gateway_client_silent" in caplog.text


def test_a_client_that_sends_nothing_is_disconnected(impatient_gateway):
    with socket.create_connection(("127.0.0.1", impatient_gateway), timeout=60) as client, client.makefile("rb") as answers:
        assert answers.readline().startswith(b"220")
        assert answers.readline().startswith(b"421")
        assert answers.readline() == b""
