"""What the gateway says to clients of all kinds, and what it takes from them."""

from __future__ import annotations

import base64
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from organization.credentials import NewCredential, create_credential
from outbox.models import Content, Message
from tests.support.certificates import Authority
from tests.support.gateway_client import Client, gateway_thread
from tests.support.outbox import send
from tests.support.portal import OPERATOR, ROOT, eventually, manage, running
from tests.support.smtp_server import listening, reserved_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


@pytest.fixture
def client(credential) -> Iterator[Client]:
    """Connected, and not signed in."""
    with gateway_thread() as port, Client(port) as client:
        yield client


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_plain_is_offered_first_and_login_asks_as_all_servers_do(client, credential):
    client.socket.sendall(b"EHLO client.example\r\n")
    offered = []
    while not offered or offered[-1][3:4] == "-":
        offered.append(client.answers.readline().decode().strip())
    assert "250-AUTH PLAIN LOGIN" in offered
    assert client.say("auth login") == f"334 {encoded('Username:')}"
    assert client.say(encoded(credential.credential.username)) == f"334 {encoded('Password:')}"
    assert client.say(encoded(credential.password)).startswith("235")


def test_parameters_of_other_extensions_are_accepted_and_ignored(client, credential):
    client.sign_in(credential)
    assert client.say("MAIL FROM:<crm@acme.example> AUTH=<crm@acme.example> RET=FULL ENVID=1 SIZE=10") == "250 2.1.0 Ok"
    assert client.say("RCPT TO:<ana@example.com> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ana@example.com") == "250 2.1.5 Ok"
    assert client.say("RCPT TO:<bob(home)@example.com>").startswith("501 5.1.3")
    assert client.say("DATA").startswith("354")
    client.socket.sendall(b"Subject: x\r\n\r\nHi\r\n.\r\n")
    assert client.hear().startswith("250 2.0.0")
    assert Message.objects.get().requested == ["ana@example.com"]


def test_answers_are_in_ascii_unless_the_client_asks_for_smtputf8(client, credential):
    client.sign_in(credential)
    client.say("MAIL FROM:<crm@acme.example>")
    ascii_answer = client.say("RCPT TO:<jörg@>")
    assert ascii_answer.startswith('553 5.1.3 "j?rg@" ')
    assert ascii_answer.isascii()
    client.say("RSET")
    client.say("MAIL FROM:<crm@acme.example> SMTPUTF8")
    assert client.say("RCPT TO:<jörg@>").startswith("553 5.1.3 “jörg@” ")


LONG = b"<p>" + b"lorem ipsum " * 2000 + b"</p>"


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
@pytest.mark.parametrize("entry_point", ["gateway", "submit"])
def test_long_lines_and_bare_line_ends_are_stored_with_crlf_at_every_entry_point(
    client, credential, crm, qa, entry_point, line_end
):
    lines = [b"Subject: a report", b"X-Long: " + b"x" * 5000, b"", LONG, b".", b"MAIL FROM:<evil@example.com>"]
    content = line_end.join(lines) + b"\r\n"
    if entry_point == "submit":
        send(crm, qa, content=content)
    else:
        client.sign_in(credential)
        client.begin_mail()
        client.socket.sendall(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert client.hear().startswith("250")
    assert bytes(Content.objects.get().data) == b"\r\n".join([*lines, b""])
    assert Message.objects.get().subject == "a report"


@pytest.fixture
def tls(tmp_path, monkeypatch) -> ssl.SSLContext:
    """The gateway has a certificate; what trusts it."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    monkeypatch.setenv("GATEWAY_TLS_CERT", str(certificate))
    monkeypatch.setenv("GATEWAY_TLS_KEY", str(key))
    return ssl.create_default_context(cafile=authority.file)


def test_on_its_tls_port_the_gateway_speaks_tls_from_the_start(credential, tls):
    with ExitStack() as stack:
        port, tls_port = stack.enter_context(reserved_port()), stack.enter_context(reserved_port())
        gateway = stack.enter_context(running("smtp_gateway", "--port", str(port), "--tls-port", str(tls_port)))
        eventually(lambda: listening(tls_port))
        with pytest.raises(ssl.SSLError):
            smtplib.SMTP_SSL("localhost", tls_port, timeout=60, context=ssl.create_default_context())
        with smtplib.SMTP_SSL("localhost", tls_port, timeout=60, context=tls) as smtp:
            smtp.login(credential.credential.username, credential.password)
            assert not smtp.has_extn("starttls")
            assert smtp.docmd("STARTTLS") == (503, b"5.5.1 The connection is encrypted already")
            smtp.sendmail("crm@acme.example", ["customer@example.com"], b"Subject: x\r\n\r\n" + b"x" * 70_000)
        with Client(port) as plain:  # the other port goes on as it did
            assert plain.greeting.startswith("220")
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", tls_port), timeout=60))
            gateway.terminate()
            assert plain.hear().startswith("421")
            assert silent.recv(1) == b""  # no words before TLS
        assert gateway.wait(20) == 0  # no connection was forgotten: for one of them it would wait 25 seconds
    assert Message.objects.count() == 1


def test_a_tls_port_without_a_certificate_is_one_clear_line():
    done = manage("smtp_gateway", "--tls-port", "1")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "GATEWAY_TLS_PORT needs GATEWAY_TLS_CERT and GATEWAY_TLS_KEY" in line


def test_the_developers_page_has_every_answer_of_ours():
    page = (ROOT / "docs" / "how-to" / "developer.md").read_text()
    sources = [*(ROOT / "gateway").glob("*.py"), ROOT / "outbox" / "submission.py", ROOT / "outbox" / "envelope.py"]
    text = "\n".join(source.read_text() for source in sources)
    answers = {f"{code} {enhanced}" for code, enhanced in re.findall(r'(\d{3})(?: |, ")(\d\.\d\.\d+)\b', text)}
    common = {"501 5.5.4", "503 5.5.1", "502 5.5.1"}  # for commands that are wrong anywhere: their first digits are there
    only_elsewhere = {"554 5.5.1"}  # no recipient: the gateway says 503
    assert answers > common | only_elsewhere
    assert {answer for answer in answers - common - only_elsewhere if f"`{answer}" not in page} == set()
