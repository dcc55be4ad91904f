"""With LOG_FORMAT=json every line of every process is one JSON object, whichever library wrote it."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from delivery.models import Worker
from gateway.models import Gateway
from organization.credentials import create_credential
from outbox.models import Message, Status
from tests.support.portal import OPERATOR, ROOT, configure, environment, eventually, mail
from tests.support.smtp_server import SmtpServer, listening, reserved_port

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def logging_process(file: Path, *command: str, **variables: str) -> Iterator[None]:
    """A process that is stopped as its supervisor would, so that it can say so."""
    settings = {"LOG_FORMAT": "json", "LOG_LEVEL": "INFO", **variables}
    with file.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env={**environment(), **settings}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_line_is_one_object(crm, qa, tmp_path):
    new = create_credential(crm, qa, OPERATOR)
    gateway, worker, web = (tmp_path / f"{name}.log" for name in ("gateway", "worker", "web"))
    with SmtpServer() as server, reserved_port() as port, reserved_port() as web_port:
        configure(qa, server, from_domains="*")
        gunicorn = ("-m", "gunicorn", "portal.wsgi", "--no-control-socket", "--bind", f"127.0.0.1:{web_port}")
        with (
            logging_process(web, *gunicorn),
            logging_process(gateway, "manage.py", "smtp_gateway", "--port", str(port)),
            logging_process(worker, "manage.py", "deliver"),
        ):
            eventually(lambda: listening(port) and listening(web_port) and Worker.objects.exists())
            with smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
                smtp.login(new.credential.username, new.password)
                smtp.sendmail("crm@acme.example", ["ana@example.com"], mail(subject="Never in a log"))
            eventually(lambda: Message.objects.filter(status=Status.SENT).exists())
            for path in ("/healthz", "/readyz", "/static/shell/base.css", "/accounts/login/"):
                eventually(lambda path=path: urllib.request.urlopen(f"http://127.0.0.1:{web_port}{path}").status == 200)
            assert Gateway.objects.count() == 1

    number = Message.objects.get().pk
    (accepted,) = [line for line in read(gateway) if line["event"] == "email_accepted"]
    assert (accepted["id"], accepted["client"], accepted["credential"]) == (number, "127.0.0.1", new.credential.username)
    (delivered,) = [line for line in read(worker) if line["event"] == "email_delivered"]
    assert (delivered["id"], delivered["code"], delivered["message_id"]) == (number, 250, accepted["message_id"])
    assert [line["request"] for line in read(web) if "request" in line] == ["GET /accounts/login/"]
    life_of_gateway = [line["event"] for line in read(gateway) if line["logger"] == "gateway.server"]
    assert life_of_gateway == ["gateway_listening", "gateway_stopping", "gateway_stopped"]
    assert {line["event"] for line in read(worker)} >= {"worker_started", "worker_stopped"}
    assert {line["logger"] for line in read(web)} >= {"gunicorn.error"}
    text = "".join(file.read_text() for file in (gateway, worker, web))
    for secret in ("Never in a log", "ana@example.com", "Requiring AUTH"):
        assert secret not in text
    assert Gateway.objects.count() == 0  # it said goodbye
