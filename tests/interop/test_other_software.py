"""Postfix behind us, swaks and curl before us."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

import pytest

from organization.credentials import create_credential
from outbox.models import Message, Status
from tests.conftest import OPERATOR, configure, eventually, running_gateway
from tests.outbox.conftest import deliver, send, set_list, statuses
from tests.outbox.header_judge import strays
from tests.smtp_server import free_port, listening

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file_prefixes = {folder}
maillog_file = {folder}/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.test
mydestination =
smtpd_relay_restrictions = reject_unauth_destination
alias_maps =
virtual_mailbox_domains = example.com, acme.example
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 100
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
error unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A private Postfix that keeps what it gets in a Maildir."""

    def __init__(self, folder: Path) -> None:
        self.port, self.log = free_port(), folder / "log"
        self._inbox, self._config = folder / "mail" / "all", folder / "config"
        self._config.mkdir()
        (folder / "queue").mkdir()
        (folder / "mail").mkdir()
        (folder / "mail").chmod(0o777)
        (self._config / "main.cf").write_text(_MAIN.format(folder=folder))
        (self._config / "master.cf").write_text(_MASTER.format(port=self.port))

    def __enter__(self) -> Postfix:
        self._run("start")
        eventually(lambda: listening(self.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._run("stop")

    def _run(self, command: str) -> None:
        done = subprocess.run(["postfix", "-c", self._config, command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr + done.stdout

    @property
    def inbox(self) -> list[bytes]:
        return [file.read_bytes() for file in sorted(self._inbox.glob("new/*"))]


@pytest.fixture
def postfix(folder) -> Iterator[Postfix]:
    with Postfix(folder) as server:
        yield server


def test_postfix_takes_our_mail_pipelined_many_over_each_connection(crm, qa, postfix):
    configure(qa, port=postfix.port, from_domains="*", connections=2)
    body = ".\r\n..\r\n.leading dot\r\nGrüße\r\n"
    sent = [
        send(crm, qa, "customer@example.com", content=f"From: crm@acme.example\r\nSubject: {n}\r\n\r\n{body}".encode())
        for n in range(100)
    ]
    send(crm, qa, content=b"From: crm@acme.example\r\nSubject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 40_000)
    deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    eventually(lambda: len(postfix.inbox) == 101, 30)
    received = {message_from_bytes(one)["Message-ID"]: one for one in postfix.inbox}
    for message in sent:
        assert received[message.message_id].partition(b"\n\n")[2] == body.replace("\r\n", "\n").encode()
    assert "queued as" in sent[0].attempts.get().reply
    log = postfix.log.read_text()
    assert log.count(": connect from") <= 3
    assert "improper command pipelining" not in log


def test_postfix_refuses_one_recipient_and_the_others_get_the_mail(crm, qa, postfix):
    configure(qa, port=postfix.port, from_domains="*")
    message = send(crm, qa, "good@example.com", "stranger@elsewhere.example", "also@acme.example")
    deliver()
    assert statuses(message) == {"good@example.com": "sent", "stranger@elsewhere.example": "failed", "also@acme.example": "sent"}
    assert "Relay access denied" in message.recipients.get(status=Status.FAILED).last_reply
    eventually(lambda: len(postfix.inbox) == 2)


# What apps write and servers or mail programs act on.
_ACTED_ON = ('X-SMTPAPI: {"to": ["customer@example.com"]}', "Sender: customer@example.com", "Errors-To: customer@example.com")
_FROM_CURL = "\n".join(
    ["From: crm@acme.example", "To: customer@example.com", "Subject: From curl", *_ACTED_ON, "", "Hi", ""]
).encode()


def _swaks(port: int, username: str, password: str) -> list[str]:
    sign_in = ["--auth", "PLAIN", "--auth-user", username, "--auth-password", password]
    address = ["--server", "127.0.0.1", "--port", str(port), "--from", "crm@acme.example", "--to", "customer@example.com"]
    fields = ["--header", "Subject: From swaks", *(part for field in _ACTED_ON for part in ("--add-header", field))]
    return ["swaks", *address, *sign_in, *fields, "--pipeline"]


def _curl(port: int, username: str, password: str) -> list[str]:
    address = ["--url", f"smtp://127.0.0.1:{port}", "--mail-from", "crm@acme.example", "--mail-rcpt", "customer@example.com"]
    return ["curl", "--silent", "--show-error", *address, "--user", f"{username}:{password}", "--upload-file", "-"]


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """curl reads the mail from standard input; swaks makes its own."""
    return subprocess.run(command, input=_FROM_CURL, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("client", [_swaks, _curl])
def test_other_clients_send_through_the_gateway(crm, qa, postfix, client: Callable[[int, str, str], list[str]]):
    configure(qa, port=postfix.port, from_domains="*")
    set_list(crm, qa, "tester@acme.example")
    new = create_credential(crm, qa, OPERATOR)
    with running_gateway() as port:
        command = client(port, new.credential.username, new.password)
        done = subprocess.run(command, input=_FROM_CURL, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        refused = subprocess.run(
            client(port, new.credential.username, "wrong"), input=b"x", capture_output=True, timeout=60, check=False
        )
        assert refused.returncode != 0
    deliver()
    eventually(lambda: len(postfix.inbox) == 1)
    (received,) = postfix.inbox
    assert b"Subject: From " in received
    mail = message_from_bytes(received)
    assert mail["Delivered-To"] == "tester@acme.example"
    written_by_postfix = ["delivered-to", "return-path"]
    assert strays(mail, ["tester@acme.example", "crm@acme.example"], "no-reply@acme.example", written_by_postfix) == []
