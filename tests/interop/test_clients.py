"""Other people's mail clients before us and Postfix behind us, with an Active test list."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import NamedTuple

import pytest

from organization.credentials import NewCredential, create_credential
from outbox.models import Content, Message
from tests.interop.postfix import Postfix
from tests.support.header_judge import strays
from tests.support.outbox import deliver, set_list
from tests.support.portal import OPERATOR, configure, eventually, running_gateway

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

SENDER, STAGE_SENDER = "crm@acme.example", "no-reply@acme.example"
RECIPIENT, TESTER = "customer@example.com", "tester@acme.example"
# Relays and mail programs act on these fields, and would send something to the customer.
ACTED_ON = {
    "X-SMTPAPI": f'{{"to": ["{RECIPIENT}"]}}',
    "Sender": RECIPIENT,
    "Reply-To": RECIPIENT,
    "Errors-To": RECIPIENT,
    "Disposition-Notification-To": RECIPIENT,
    "List-Unsubscribe": f"<mailto:unsubscribe@example.com?subject={RECIPIENT}>",
}
FIELDS = [f"{name}: {value}" for name, value in ACTED_ON.items()]
WRITTEN_BY_POSTFIX = ["delivered-to", "return-path"]
LONG = "lorem ipsum " * 300
CONTENT = "\n".join([f"From: {SENDER}", f"To: {RECIPIENT}", "Subject: Hello", *FIELDS, "", LONG, ".", ""]).encode()
PROGRAMS = Path(__file__).parent / "clients"
_JAVA_LIBRARIES = "/usr/share/java/jakarta-mail.jar:/usr/share/java/jakarta-activation.jar"


class SignIn(NamedTuple):
    port: int
    username: str
    password: str


Client = Callable[[SignIn], list[str]]
RunClient = Callable[[Client, str], subprocess.CompletedProcess[bytes]]


def swaks(to: SignIn) -> list[str]:
    sign_in = ["--auth", "LOGIN", "--auth-user", to.username, "--auth-password", to.password]
    address = ["--server", "127.0.0.1", "--port", str(to.port), "--from", SENDER, "--to", RECIPIENT]
    fields = ["--header", "Subject: Hello", *(part for field in FIELDS for part in ("--add-header", field))]
    return ["swaks", *address, *sign_in, *fields, "--body", LONG, "--pipeline"]


def curl(to: SignIn) -> list[str]:
    address = ["--url", f"smtp://127.0.0.1:{to.port}", "--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--mail-auth", SENDER]
    return ["curl", "--silent", "--show-error", *address, "--user", f"{to.username}:{to.password}", "--upload-file", "-"]


def msmtp(to: SignIn) -> list[str]:
    sign_in = ["--auth=login", f"--user={to.username}", f"--passwordeval=printf %s {to.password}"]
    address = ["--file=/dev/null", "--host=127.0.0.1", f"--port={to.port}", "--tls=off", f"--from={SENDER}"]
    return ["msmtp", *address, *sign_in, "--dsn-notify=off", RECIPIENT]


def nodemailer(to: SignIn) -> list[str]:
    return ["node", str(PROGRAMS / "send.js"), *map(str, to), *FIELDS]


def java(to: SignIn) -> list[str]:
    return ["java", "-cp", _JAVA_LIBRARIES, str(PROGRAMS / "Send.java"), *map(str, to), *FIELDS]


def go(to: SignIn) -> list[str]:
    return ["go", "run", str(PROGRAMS / "send.go"), *map(str, to), *FIELDS]


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


@pytest.fixture
def gateway(django_db_setup) -> Iterator[int]:
    with running_gateway() as port:
        yield port


@pytest.fixture
def run_client(gateway: int, credential: NewCredential, folder: Path) -> RunClient:
    """Let a client send with a password. curl and msmtp send what they read from standard input."""
    variables = {**os.environ, "HOME": str(folder), "GOCACHE": str(folder / "go"), "NODE_PATH": "/usr/share/nodejs"}

    def run(client: Client, password: str) -> subprocess.CompletedProcess[bytes]:
        command = client(SignIn(gateway, credential.credential.username, password))
        return subprocess.run(command, input=CONTENT, capture_output=True, timeout=240, check=False, env=variables)

    return run


@pytest.mark.parametrize("client", [swaks, curl, msmtp, nodemailer, java, go])
def test_a_clients_mail_reaches_the_active_list_alone(crm, qa, postfix, credential, run_client, client):
    configure(qa, port=postfix.port, from_domains="*")
    set_list(crm, qa, TESTER)
    done = run_client(client, credential.password)
    assert done.returncode == 0, done.stdout + done.stderr
    message = Message.objects.get()
    assert (message.subject, message.envelope_sender, message.requested) == ("Hello", SENDER, [RECIPIENT])
    assert b"lorem ipsum" in Content.objects.get().data
    refused = run_client(client, "wrong")
    assert refused.returncode != 0
    assert b"535" in refused.stdout + refused.stderr or client is curl  # which says "Login denied"
    assert Message.objects.count() == 1
    deliver()
    assert_only_the_list_got_it(postfix)


def assert_only_the_list_got_it(postfix: Postfix) -> None:
    """One email came, for the tester, and what the client wrote for relays and mail programs is renamed."""
    eventually(lambda: postfix.inbox)
    (received,) = map(message_from_bytes, postfix.inbox)
    assert (received["Delivered-To"], received["Return-Path"]) == (TESTER, f"<{STAGE_SENDER}>")
    assert strays(received, [TESTER, SENDER], STAGE_SENDER, WRITTEN_BY_POSTFIX) == []
    assert {f"X-Original-{name}" for name in ACTED_ON} <= set(received.keys())


def test_postfix_relays_through_the_gateway(crm, qa, postfix, credential, gateway, folder):
    """With AUTH= in its MAIL, as it does to every server that offers AUTH."""
    configure(qa, port=postfix.port, from_domains="*")
    set_list(crm, qa, TESTER)
    sign_in = f"{credential.credential.username}:{credential.password}"
    settings = f"""
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains =
relayhost = [127.0.0.1]:{gateway}
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{gateway} = {sign_in} }} }}
"""
    (folder / "relay").mkdir()
    with Postfix(folder / "relay", settings) as relay:
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=60) as smtp:
            smtp.sendmail(SENDER, [RECIPIENT, "other@example.com"], CONTENT)
        eventually(lambda: "status=" in relay.log.read_text())
        assert "status=sent (250 2.0.0 Ok: queued as" in relay.log.read_text()
    assert Message.objects.get().requested == [RECIPIENT, "other@example.com"]
    deliver()
    assert_only_the_list_got_it(postfix)
