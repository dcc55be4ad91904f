"""Other people's mail clients before us: what they send is accepted, and a wrong password is refused."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from organization.credentials import NewCredential, create_credential
from outbox.models import Content, Message
from tests.interop.postfix import Postfix
from tests.support.portal import OPERATOR, eventually, mail, running_gateway

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

SENDER, RECIPIENT = "crm@acme.example", "customer@example.com"
LONG = "lorem ipsum " * 300
PROGRAMS = Path(__file__).parent / "clients"
_JAVA_LIBRARIES = "/usr/share/java/jakarta-mail.jar:/usr/share/java/jakarta-activation.jar"


class SignIn(NamedTuple):
    port: int
    username: str
    password: str


def swaks(to: SignIn) -> list[str]:
    sign_in = ["--auth", "LOGIN", "--auth-user", to.username, "--auth-password", to.password]
    address = ["--server", "127.0.0.1", "--port", str(to.port), "--from", SENDER, "--to", RECIPIENT]
    return ["swaks", *address, *sign_in, "--header", "Subject: Hello", "--body", LONG, "--pipeline"]


def curl(to: SignIn) -> list[str]:
    address = ["--url", f"smtp://127.0.0.1:{to.port}", "--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--mail-auth", SENDER]
    return ["curl", "--silent", "--show-error", *address, "--user", f"{to.username}:{to.password}", "--upload-file", "-"]


def msmtp(to: SignIn) -> list[str]:
    sign_in = ["--auth=login", f"--user={to.username}", f"--passwordeval=printf %s {to.password}"]
    address = ["--file=/dev/null", "--host=127.0.0.1", f"--port={to.port}", "--tls=off", f"--from={SENDER}"]
    return ["msmtp", *address, *sign_in, "--dsn-notify=off", RECIPIENT]


def nodemailer(to: SignIn) -> list[str]:
    return ["node", str(PROGRAMS / "send.js"), *map(str, to)]


def java(to: SignIn) -> list[str]:
    return ["java", "-cp", _JAVA_LIBRARIES, str(PROGRAMS / "Send.java"), *map(str, to)]


def go(to: SignIn) -> list[str]:
    return ["go", "run", str(PROGRAMS / "send.go"), *map(str, to)]


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


@pytest.fixture
def gateway(django_db_setup) -> Iterator[int]:
    with running_gateway() as port:
        yield port


@pytest.mark.parametrize("client", [swaks, curl, msmtp, nodemailer, java, go])
def test_a_client_sends_with_the_right_password_only(
    gateway: int, credential: NewCredential, folder: Path, client: Callable[[SignIn], list[str]]
) -> None:
    content = f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: Hello\n\n{LONG}\n.\n".encode()  # curl and msmtp read it

    def send(password: str) -> subprocess.CompletedProcess[bytes]:
        command = client(SignIn(gateway, credential.credential.username, password))
        variables = {**os.environ, "HOME": str(folder), "GOCACHE": str(folder / "go"), "NODE_PATH": "/usr/share/nodejs"}
        return subprocess.run(command, input=content, capture_output=True, timeout=240, check=False, env=variables)

    done = send(credential.password)
    assert done.returncode == 0, done.stdout + done.stderr
    message = Message.objects.get()
    assert (message.subject, message.envelope_sender, message.requested) == ("Hello", SENDER, [RECIPIENT])
    assert b"lorem ipsum" in Content.objects.get().data
    refused = send("wrong")
    assert refused.returncode != 0
    assert b"535" in refused.stdout + refused.stderr or client is curl  # which says "Login denied"
    assert Message.objects.count() == 1


def test_postfix_relays_through_the_gateway(gateway, credential, folder):
    """With AUTH= in its MAIL, as it does to every server that offers AUTH."""
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
    with Postfix(folder, settings) as postfix:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=60) as smtp:
            smtp.sendmail(SENDER, [RECIPIENT, "other@example.com"], mail(body=LONG))
        eventually(lambda: "status=" in postfix.log.read_text())
        assert "status=sent (250 2.0.0 Ok: queued as" in postfix.log.read_text()
    assert Message.objects.get().requested == [RECIPIENT, "other@example.com"]
