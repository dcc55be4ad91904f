"""A database that takes connections and answers nothing: nobody waits for it for ever, and probes not at all."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.db import connection

from organization.credentials import create_credential
from portal import readiness
from tests.support.portal import OPERATOR, ROOT, environment, eventually
from tests.support.servers.frozen_database import FreezablePath
from tests.support.smtp_server import listening, reserved_port

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.requires_postgresql]  # SQLite is in the same process

_PAGES = 6


@pytest.fixture
def path() -> Iterator[FreezablePath]:
    with FreezablePath(connection.settings_dict) as path:
        yield path


@contextmanager
def serving(port: int, *command: str, **variables: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env={**environment(), **variables})
    try:
        eventually(lambda: listening(port))
        yield
    finally:
        process.kill()
        process.wait()


def get(port: int, path: str) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Cookie": "sessionid=of-a-session-that-is-over"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_probes_and_static_files_are_answered_while_pages_wait(path: FreezablePath) -> None:
    gunicorn = ("-m", "gunicorn", "portal.wsgi", "--threads", "4", "--no-control-socket", "--bind")
    with (
        reserved_port() as port,
        serving(port, *gunicorn, f"127.0.0.1:{port}", DATABASE_URL=path.url),
        ThreadPoolExecutor(_PAGES) as browsers,
    ):
        assert get(port, "/accounts/login/")[0] == 200
        path.freeze()
        try:
            pages = [browsers.submit(get, port, "/accounts/login/") for _ in range(_PAGES)]
            eventually(lambda: sum(page.done() for page in pages) == _PAGES - 3)  # three may wait, the others are told
            assert {page.result()[0] for page in pages if page.done()} == {503}
            assert get(port, "/healthz")[0] == 200
            assert get(port, "/static/shell/base.css")[0] == 200
            status, body = get(port, "/readyz")
            assert (status, json.loads(body)["causes"]) == (503, [readiness.HANGS])
            assert sum(page.done() for page in pages) == _PAGES - 3
        finally:
            path.thaw()
        assert {page.result()[0] for page in pages} == {200, 503}
        eventually(lambda: json.loads(get(port, "/readyz")[1])["database"])
        eventually(lambda: get(port, "/accounts/login/")[0] == 200)


def test_the_gateway_tells_apps_to_come_back(path: FreezablePath, crm, qa) -> None:
    new = create_credential(crm, qa, OPERATOR)
    username, password = new.credential.username, new.password
    with (
        reserved_port() as port,
        serving(
            port,
            "manage.py",
            "smtp_gateway",
            "--port",
            str(port),
            DATABASE_URL=path.url,
            DATABASE_STATEMENT_TIMEOUT="1",
            DATABASE_CONNECT_TIMEOUT="2",
        ),
    ):
        with smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
            smtp.login(username, password)
        path.freeze()
        with smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            smtp.login(username, password)
        assert refused.value.smtp_code == 454
        path.thaw()

        def signed_in() -> bool:
            with smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
                try:
                    return smtp.login(username, password)[0] == 235
                except smtplib.SMTPAuthenticationError:
                    return False

        eventually(signed_in)
