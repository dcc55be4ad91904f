"""What an operator meets at night: every process restarted under load, and a database that stops answering."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import connection

from organization.credentials import create_credential
from outbox.models import Message, Status
from tests.interop.processes import Portal, Process, printed, sink
from tests.support.portal import OPERATOR, configure, eventually
from tests.support.smtp_server import free_port, listening

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

_NGINX = """
daemon off; error_log stderr; pid {folder}/nginx.pid;
include /usr/share/nginx/modules-available/mod-stream.conf;
events {{}}
stream {{
  upstream gateways {{ server 127.0.0.1:{first} max_fails=0; server 127.0.0.1:{second} max_fails=0; }}
  server {{ listen 127.0.0.1:{smtp}; proxy_pass gateways; proxy_connect_timeout 2s; }}
}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{http}; location / {{ proxy_pass http://127.0.0.1:{web}; proxy_set_header Host $http_host; }} }}
}}
"""


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    assert connection.vendor == "postgresql", "run them with make interop"


class Sender:
    """An app that sends five emails a second over connections of ten emails each, and tries again what was not accepted."""

    def __init__(self, port: int, login: tuple[str, str], emails: int) -> None:
        self.accepted: list[str] = []
        self.told: Counter[int] = Counter()  # codes of refusals
        self.cut: list[str] = []
        self._port, self._login, self._emails = port, login, emails
        self._session: smtplib.SMTP | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for number in range(self._emails):
            message_id = f"<{id(self)}.{number}@acme.example>"
            while not self._send(message_id):
                time.sleep(0.2)
            self.accepted.append(message_id)
            if number % 10 == 9:
                self._hang_up()
            time.sleep(0.2)

    def _send(self, message_id: str) -> bool:
        try:
            if self._session is None:
                self._session = smtplib.SMTP("127.0.0.1", self._port, timeout=90)
                self._session.login(*self._login)
            self._session.sendmail("crm@acme.example", ["customer@example.com"], f"Message-ID: {message_id}\r\n\r\nHi\r\n")
        except smtplib.SMTPResponseException as refused:
            self.told[refused.smtp_code] += 1
        except (smtplib.SMTPException, OSError) as error:
            self.cut.append(repr(error))
        else:
            return True
        self._hang_up()
        return False

    def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(smtplib.SMTPException, OSError):
                session.quit()


class Browser:
    """Opens a page ten times a second."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[object] = Counter()
        self._url, self._stop = f"http://127.0.0.1:{port}/accounts/login/", threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            try:
                self.answers[urllib.request.urlopen(self._url, timeout=30).status] += 1
            except urllib.error.HTTPError as error:
                self.answers[error.code] += 1
            except OSError as error:
                self.answers[repr(error)] += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)


def gunicorn(portal: Portal) -> tuple[int, Process]:
    port = free_port()
    command = ("-m", "gunicorn", "portal.wsgi", "--workers", "2", "--threads", "4", "--no-control-socket")
    process = portal.start("web", *command, "--bind", f"127.0.0.1:{port}")
    eventually(lambda: listening(port))
    return port, process


def nginx(folder: Path, **ports: int) -> Process:
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, **ports))
    process = Process("nginx", "-c", str(file), output=folder / "nginx.log")
    eventually(lambda: listening(ports["smtp"]) and listening(ports["http"]))
    return process


def all_sent() -> bool:
    return not Message.objects.exclude(status=Status.SENT).exists()


def test_every_process_is_restarted_and_nothing_is_lost_doubled_or_cut(crm, qa, folder, start_portal):
    new = create_credential(crm, qa, OPERATOR)
    with sink(folder, delay=0.01) as server:
        configure(qa, port=server.port, from_domains="*", connections=4)
        portal = start_portal("")
        worker = portal.start("worker", "manage.py", "deliver")
        gateways = [portal.gateway() for _ in range(2)]
        web_port, web = gunicorn(portal)
        ports = {"smtp": free_port(), "http": free_port(), "web": web_port}
        balancer = nginx(folder, first=gateways[0][0], second=gateways[1][0], **ports)
        browser = Browser(ports["http"])
        senders = [Sender(ports["smtp"], (new.credential.username, new.password), 120) for _ in range(4)]
        try:
            eventually(lambda: len(server.arrivals) > 20)
            worker.end()
            worker.start()
            for port, gateway in gateways:
                gateway.end()
                gateway.start()
                eventually(lambda port=port: listening(port))
                time.sleep(1.0)
            web.process.send_signal(signal.SIGHUP)
            for sender in senders:
                sender.thread.join(120)
            eventually(all_sent)
        finally:
            browser.close()
            balancer.end()
        accepted = [message_id for sender in senders for message_id in sender.accepted]
        assert len(accepted) == 480
        assert server.counts == Counter(accepted)
        assert [sender.cut for sender in senders] == [[]] * 4
        assert set(browser.answers) == {200}
        answers = sum((sender.told for sender in senders), Counter())
        printed(
            f"rolling restart: 480 emails, lost 0, doubled 0, cut 0; told to come back: {dict(answers)}; pages: {browser.answers}"
        )


def postgres_processes() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        (folder,) = cursor.fetchone()
    connection.close()
    server = int(Path(folder, "postmaster.pid").read_text().split()[0])
    return [server, *map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split())]


def send_each(pids: Iterable[int], number: signal.Signals) -> None:
    """A process whose connection was just closed may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_database_that_is_stopped_loses_nothing_and_is_told_of(crm, qa, folder, start_portal, monkeypatch):
    new = create_credential(crm, qa, OPERATOR)
    monkeypatch.setitem(os.environ, "DATABASE_STATEMENT_TIMEOUT", "2")
    monkeypatch.setitem(os.environ, "DATABASE_CONNECT_TIMEOUT", "2")
    with sink(folder, delay=0.01) as server:
        configure(qa, port=server.port, from_domains="*", connections=4)
        portal = start_portal("")
        portal.start("worker", "manage.py", "deliver")
        smtp_port, _ = portal.gateway()
        web_port, _ = gunicorn(portal)
        senders = [Sender(smtp_port, (new.credential.username, new.password), 100) for _ in range(4)]
        eventually(lambda: len(server.arrivals) > 20)

        stopped = postgres_processes()
        try:
            send_each(reversed(stopped), signal.SIGSTOP)
            status, seconds, causes = probe(web_port)
            printed(f"PostgreSQL stopped: /readyz answered {status} after {seconds:.1f} s: {causes}")
            assert (status, causes) == (503, ["The database doesn't answer."])
            eventually(lambda: all(sender.told for sender in senders))
            assert set().union(*(sender.told for sender in senders)) <= {451, 454}
        finally:
            send_each(stopped, signal.SIGCONT)
        for sender in senders:
            sender.thread.join(120)
        eventually(all_sent)
        accepted = {message_id for sender in senders for message_id in sender.accepted}
        assert len(accepted) == 400
        assert accepted <= set(server.counts)
        # What was being stored in that very moment, one email of each app, may be stored although its app was told to come back.
        doubled = sum(server.counts.values()) - len(server.counts)
        assert doubled <= len(senders) + 2 * 4
        answers = sum((sender.told for sender in senders), Counter())
        printed(f"400 emails accepted, none lost, {doubled} doubled; told to come back: {dict(answers)}")
        eventually(lambda: probe(web_port)[0] == 200)


def probe(port: int) -> tuple[int, float, list[str]]:
    began = time.monotonic()
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.status, time.monotonic() - began, json.loads(answer.read())["causes"]
