"""Processes with 64 file handles and more connections than that go on working, and say little about it."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from organization.credentials import create_credential
from outbox.models import Message, Source, Status
from outbox.submission import Envelope, submit_together
from outbox.values import Submission
from tests.support.gateway_client import Client
from tests.support.outbox import hold_the_line
from tests.support.portal import OPERATOR, ROOT, configure, environment, eventually, mail
from tests.support.smtp_server import SmtpServer, listening, reserved_port

pytestmark = pytest.mark.django_db(transaction=True)

_FEW_FILES = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
_FEW_FILES += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


@contextmanager
def with_few_files(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", _FEW_FILES, *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=output, stdout=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def assert_short(log: Path) -> None:
    text = log.read_text()
    assert "Traceback" not in text
    assert len(text) < 10_000


def test_silent_clients_of_the_gateway_keep_no_app_from_sending(crm, qa, tmp_path):
    new = create_credential(crm, qa, OPERATOR)
    log = tmp_path / "log"
    with ExitStack() as stack:
        port = stack.enter_context(reserved_port())
        stack.enter_context(with_few_files(log, "manage.py", "smtp_gateway", "--port", str(port)))
        eventually(lambda: listening(port))
        for _ in range(100):
            stack.enter_context(connect(port))

        def come_in() -> Client | None:
            client = stack.enter_context(Client(port))
            return client if client.greeting.startswith("220") else None  # none of the others was silent for long enough yet

        client = eventually(come_in)
        client.sign_in(new)
        client.begin_mail()
        client.socket.sendall(mail() + b".\r\n")
        assert client.hear().startswith("250")
    assert "gateway_connections_limited" in log.read_text()
    assert_short(log)
    assert Message.objects.count() == 1


def test_silent_clients_of_the_portal_end_no_web_process(tmp_path):
    log = tmp_path / "log"
    with reserved_port() as port:
        options = ["--bind", f"127.0.0.1:{port}", "--threads", "8", "--no-control-socket"]
        with with_few_files(log, "-m", "gunicorn", "portal.wsgi", *options):
            eventually(lambda: listening(port))
            with ExitStack() as stack:
                for _ in range(100):
                    stack.enter_context(connect(port))
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
                assert answer.status == 200
    assert_short(log)


def test_a_worker_with_more_connections_allowed_than_files_delivers_all(crm, development, qa, production, tmp_path):
    log = tmp_path / "log"
    with SmtpServer() as server:
        _, answer = hold_the_line(server)
        for stage in (development, qa, production):
            configure(stage, server, from_domains="*", connections=20)
            envelope = Envelope("crm@acme.example", ["customer@example.com"])
            submit_together([Submission(crm, stage, envelope, mail(), Source.COMMAND)] * 200)
        with with_few_files(log, "manage.py", "deliver", "--once") as process:
            eventually(lambda: server.connections >= 4)
            answer.set()
            assert process.wait(120) == 0
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert_short(log)
