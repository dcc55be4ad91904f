"""Lines that are too long for a server."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Iterator
from email import message_from_bytes

import pytest

from tests.support.outbox import deliver, outcomes, send, statuses
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """One with PIPELINING; how it is without is for the tests of delivery to see."""
    with SmtpServer(pipelining=True) as server:
        yield server


LONG = b"<p>" + b"lorem ipsum " * 200 + "über</p>".encode()
HEAD = b"From: crm@acme.example\r\nTo: customer@example.com\r\nSubject: long line\r\nMIME-Version: 1.0\r\n"


def no_long_lines(reply: str = "500 line too long"):
    return lambda received: reply if max(map(len, received.content.split(b"\r\n"))) > 998 else None


@pytest.mark.parametrize(
    "reply", ["500 line too long", "554 5.6.0 Message contains lines exceeding 998 bytes", "552 Line length"]
)
def test_long_lines_leave_as_they_are_and_re_encoded_only_where_the_server_refuses_them(crm, qa, configured, smtp_server, reply):
    content = HEAD + b"Content-Type: text/html; charset=utf-8\r\n\r\n" + LONG + b"\r\n"
    smtp_server.long_lines = True
    send(crm, qa, content=content)
    deliver()
    assert smtp_server.arrived.pop().content.endswith(LONG + b"\r\n")
    smtp_server.data = no_long_lines(reply)
    message = send(crm, qa, content=content)
    deliver()
    (arrived,) = smtp_server.arrived
    assert arrived.mail["Content-Transfer-Encoding"] == "quoted-printable"
    assert arrived.mail.get_payload(decode=True) == LONG + b"\r\n"
    first, second = message.attempts.all()
    assert (first.outcome, second.outcome) == ("deferred", "sent")
    assert first.reply == f"{reply} The server refuses its long lines. It is sent again with its long parts re-encoded."
    message.refresh_from_db()
    assert message.notes == ["The server refused lines of more than 998 bytes, so the email's long parts left re-encoded."]
    assert bytes(message.content.data) == content


@pytest.mark.parametrize(
    "content",
    [
        b"DKIM-Signature: v=1; d=acme.example\r\n" + HEAD + b"\r\n" + LONG,
        HEAD + b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + LONG + b"\r\n--b--\r\n",
        HEAD + b"Content-Type: application/pkcs7-mime\r\n\r\n" + LONG,
        HEAD
        + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        + b"Content-Type: multipart/encrypted; boundary=c\r\n\r\n--c--\r\n"
        + b"--b\r\n\r\n"
        + LONG
        + b"\r\n--b--\r\n",
    ],
    ids=["DKIM", "signed", "PKCS#7", "encrypted part"],
)
def test_a_signed_email_with_long_lines_fails_and_says_why(crm, qa, configured, smtp_server, content):
    smtp_server.long_lines = True
    smtp_server.data = no_long_lines()
    message = send(crm, qa, content=content)
    deliver()
    assert statuses(message) == {"customer@example.com": "failed"}
    attempt = message.attempts.get()
    assert attempt.reply == ("500 line too long. The email is signed or encrypted, so its long lines can't be re-encoded.")


def test_only_the_long_parts_are_re_encoded(crm, qa, configured, smtp_server):
    smtp_server.long_lines = True
    smtp_server.data = no_long_lines()
    pdf, short = bytes(range(14, 256)) * 20, b"short and = as it is\r\n"
    parts = [
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + LONG,
        b"Content-Type: text/plain\r\n\r\n" + short,
        b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(pdf),
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + pdf,
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + quopri.encodestring(LONG).replace(b"=\n", b""),
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\n" + LONG,
    ]
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    send(crm, qa, content=HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + body)
    deliver()
    (arrived,) = smtp_server.arrived
    text, plain, wrapped, binary, quoted, inner = message_from_bytes(arrived.content).get_payload()
    assert [part.get_payload(decode=True) for part in (text, wrapped, binary, quoted)] == [LONG, pdf, pdf, LONG]
    assert plain.get_payload() + "\r\n" == short.decode() or plain.get_payload() == short.decode()
    assert "Content-Transfer-Encoding" not in plain
    assert inner.get_payload()[0].get_payload(decode=True) == LONG
    assert inner.get_payload()[0]["Subject"] == "inner"


def test_a_server_that_refuses_the_shorter_lines_too_ends_it(crm, qa, configured, smtp_server):
    smtp_server.long_lines = True
    smtp_server.data = lambda _: "500 line too long"
    message = send(crm, qa, content=HEAD + b"\r\n" + LONG)
    deliver()
    assert outcomes(message) == [("customer@example.com", "deferred"), ("customer@example.com", "failed")]
    without = send(crm, qa)
    deliver()
    assert without.attempts.get().reply.endswith("that could be re-encoded.")
