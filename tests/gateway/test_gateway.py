"""The SMTP gateway as a process of its own, used by stock clients over TCP."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator

import pytest
from django.core.mail import EmailMessage, get_connection

from organization.credentials import NewCredential, create_credential, revoke_credential
from organization.models import App
from outbox.models import Message, Source
from tests.support.certificates import Authority
from tests.support.portal import OPERATOR, configure, mail, manage, running_gateway

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


@pytest.fixture(scope="module")
def gateway(django_db_setup) -> Iterator[int]:
    """One for all tests: it keeps nothing of what was in the database before."""
    with running_gateway() as port:
        yield port


@pytest.fixture
def signed_in(gateway, credential) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp:
        smtp.login(credential.credential.username, credential.password)
        yield smtp


def test_held_mail_is_answered_with_the_reason(signed_in, crm, qa):
    signed_in.mail("crm@acme.example")
    signed_in.rcpt("customer@example.com")
    assert signed_in.data(mail())[1].endswith(b"See Management, Emails.)")


def test_smtplib_sends_and_250_means_stored(signed_in, crm, qa, credential):
    configure(qa)
    signed_in.mail("crm@acme.example")
    signed_in.rcpt("customer@example.com")
    code, reply = signed_in.data(mail())
    message = Message.objects.get()
    assert (code, reply) == (250, f"2.0.0 Ok: queued as {message.pk}".encode())
    assert (message.app, message.stage, message.via, message.credential) == (crm, qa, Source.GATEWAY, credential.credential)
    assert (message.subject, message.requested) == ("Hello", ["customer@example.com"])


def test_another_djangos_stock_smtp_backend_works_unchanged(gateway, credential):
    connection = get_connection(
        "django.core.mail.backends.smtp.EmailBackend",
        host="127.0.0.1",
        port=gateway,
        username=credential.credential.username,
        password=credential.password,
    )
    message = EmailMessage("Größe", "Text", "crm@acme.example", ["a@example.com"], bcc=["b@example.com"], connection=connection)
    assert message.send() == 1
    stored = Message.objects.get()
    assert stored.subject == "Größe"
    assert stored.requested == ["a@example.com", "b@example.com"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_demos_curl_line_works(gateway, credential, tmp_path):
    file = tmp_path / "mail.eml"
    file.write_bytes(b"From: crm@acme.example\nTo: customer@example.com\nSubject: Hello\n\nHi!\n")
    command = ["curl", "-sS", "--url", f"smtp://127.0.0.1:{gateway}"]
    command += ["--user", f"{credential.credential.username}:{credential.password}"]
    command += ["--mail-from", "crm@acme.example", "--mail-rcpt", "customer@example.com", "--upload-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert Message.objects.get().subject == "Hello"


def test_auth_login_works_as_auth_plain_does(gateway, credential):
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp:
        smtp.ehlo()
        smtp.user, smtp.password = credential.credential.username, credential.password
        assert smtp.auth("LOGIN", smtp.auth_login)[0] == 235


@pytest.mark.parametrize("wrong", ["password", "username", "revoked"])
def test_a_wrong_sign_in_is_refused_without_saying_why(gateway, credential, wrong):
    username, password = credential.credential.username, credential.password
    if wrong == "password":
        password = "x" + password
    elif wrong == "username":
        username += "x"
    else:
        revoke_credential(credential.credential, OPERATOR)
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        smtp.login(username, password)
    assert refused.value.smtp_code == 535
    assert refused.value.smtp_error == b"5.7.8 Authentication credentials invalid"


def test_an_archived_app_or_stage_is_named_to_who_has_the_password(gateway, credential, crm, qa):
    App.objects.filter(pk=crm.pk).update(archived=True)
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        smtp.login(credential.credential.username, credential.password)
    assert refused.value.args == (535, b"5.7.1 Customer Relations is archived and sends no mail.")
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        smtp.login(credential.credential.username, "guessed")
    assert refused.value.smtp_error == b"5.7.8 Authentication credentials invalid"


def test_a_client_outside_the_credentials_networks_is_told_so(gateway, crm, qa):
    new = create_credential(crm, qa, OPERATOR, networks="10.0.0.0/8")
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp, pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        smtp.login(new.credential.username, new.password)
    assert refused.value.args == (535, b"5.7.1 The credential can't be used from 127.0.0.1.")


def test_an_app_that_is_archived_meanwhile_is_named_in_an_open_session(signed_in, crm):
    App.objects.filter(pk=crm.pk).update(archived=True)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        signed_in.sendmail("crm@acme.example", ["customer@example.com"], mail())
    assert refused.value.args == (550, b"5.7.1 Customer Relations is archived and sends no mail.")
    assert not Message.objects.exists()


def test_nobody_sends_without_signing_in(gateway):
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp:
        smtp.ehlo()
        assert smtp.docmd("MAIL", "FROM:<crm@acme.example>")[0] == 530


def test_a_credential_revoked_in_an_open_session_sends_no_more(signed_in, credential):
    revoke_credential(credential.credential, OPERATOR)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        signed_in.sendmail("crm@acme.example", ["customer@example.com"], mail())
    assert refused.value.smtp_code == 535
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("sender", "recipient", "code"),
    [("crm@acme.example", "nobody", 553), ("crm@acme.example", "a@exa mple.com", 553), ("root", "a@-example.com", 553)],
)
def test_bad_addresses_are_refused_at_their_command(signed_in, sender, recipient, code):
    answers = [signed_in.docmd("MAIL", f"FROM:<{sender}>")[0], signed_in.docmd("RCPT", f"TO:<{recipient}>")[0]]
    assert any(500 <= answer < 600 for answer in answers)
    assert code // 100 == 5
    assert not Message.objects.exists()


def test_the_null_sender_and_utf8_addresses_are_taken(signed_in):
    signed_in.ehlo()
    signed_in.sendmail("", ["bounce@example.com"], mail())
    signed_in.send_message(_utf8_mail())
    assert list(Message.objects.order_by("pk").values_list("envelope_sender", "requested")) == [
        ("", ["bounce@example.com"]),
        ("crm@acme.example", ["jörg@bücher.example"]),
    ]


def _utf8_mail():
    from email.message import EmailMessage as StandardMail

    message = StandardMail()
    message["From"], message["To"], message["Subject"] = "crm@acme.example", "jörg@bücher.example", "Hallo"
    message.set_content("Grüße")
    return message


def test_what_the_gateway_offers(gateway):
    with smtplib.SMTP("127.0.0.1", gateway, timeout=120) as smtp:
        smtp.ehlo()
        for extension in ("size", "8bitmime", "smtputf8", "pipelining", "auth"):
            assert smtp.has_extn(extension), extension
        assert not smtp.has_extn("starttls")


def test_commands_sent_in_one_flight_are_all_answered(gateway, credential):
    import base64

    token = base64.b64encode(f"\0{credential.credential.username}\0{credential.password}".encode()).decode()
    with socket.create_connection(("127.0.0.1", gateway), timeout=120) as raw, raw.makefile("rb") as answers:
        answers.readline()
        raw.sendall(f"EHLO me\r\nAUTH PLAIN {token}\r\n".encode())
        while not answers.readline().startswith(b"235"):
            pass
        envelope = b"MAIL FROM:<crm@acme.example>\r\nRCPT TO:<a@example.com>\r\nRCPT TO:<bad>\r\nDATA\r\n"
        raw.sendall(envelope)
        assert [answers.readline()[:3] for _ in range(4)] == [b"250", b"250", b"553", b"354"]
        raw.sendall(mail() + b".\r\nMAIL FROM:<crm@acme.example>\r\n")
        assert [answers.readline()[:3] for _ in range(2)] == [b"250", b"250"]
    assert Message.objects.get().requested == ["a@example.com"]


def test_a_mail_larger_than_allowed_is_refused_and_the_session_goes_on(credential):
    os.environ["MESSAGE_MAX_BYTES"] = "5000"
    try:
        with running_gateway() as port, smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
            smtp.login(credential.credential.username, credential.password)
            assert smtp.esmtp_features["size"] == "5000"
            with pytest.raises(smtplib.SMTPException):
                smtp.sendmail("crm@acme.example", ["a@example.com"], mail(body="x" * 100 + ("\r\n" + "y" * 70) * 200))
            smtp.sendmail("crm@acme.example", ["a@example.com"], mail())
    finally:
        del os.environ["MESSAGE_MAX_BYTES"]
    assert Message.objects.count() == 1


def test_with_a_certificate_nobody_signs_in_before_starttls(credential, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("localhost")
    os.environ |= {"GATEWAY_TLS_CERT": str(certificate), "GATEWAY_TLS_KEY": str(key)}
    try:
        with running_gateway() as port, smtplib.SMTP("localhost", port, timeout=120) as smtp:
            smtp.ehlo()
            assert smtp.has_extn("starttls")
            with pytest.raises(smtplib.SMTPException):
                smtp.login(credential.credential.username, credential.password)
            smtp.starttls(context=ssl.create_default_context(cafile=authority.file))
            smtp.login(credential.credential.username, credential.password)
            smtp.sendmail("crm@acme.example", ["a@example.com"], mail())
    finally:
        for name in ("GATEWAY_TLS_CERT", "GATEWAY_TLS_KEY"):
            del os.environ[name]
    assert Message.objects.count() == 1


def test_a_port_that_is_taken_ends_the_command_with_one_clear_line(gateway):
    done = manage("smtp_gateway", "--port", str(gateway))
    assert done.returncode == 1
    assert "can't listen" in done.stderr
