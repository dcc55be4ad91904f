"""The SMTP gateway as a process of its own, used by stock clients over TCP."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.mail import EmailMessage, get_connection
from django.db import connection

from common import sql
from gateway.batching import Handed, store
from organization.credentials import NewCredential, create_credential, revoke_credential
from organization.models import App
from outbox.models import Door, Message, Status
from outbox.submission import Envelope
from outbox.values import Accepted
from tests.support.certificates import Authority
from tests.support.outbox import send, set_list
from tests.support.portal import OPERATOR, configure, environment, eventually, mail, manage, running_gateway
from tests.support.smtp_server import SmtpServer

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
    assert signed_in.data(mail())[1].endswith(b"Saving them under Management, Emails releases this mail.)")


def test_smtplib_sends_and_250_means_stored(signed_in, crm, qa, credential):
    configure(qa)
    signed_in.mail("crm@acme.example")
    signed_in.rcpt("customer@example.com")
    code, reply = signed_in.data(mail())
    message = Message.objects.get()
    assert (code, reply) == (250, f"2.0.0 Ok: queued as {message.pk}".encode())
    assert (message.app, message.stage, message.via, message.credential) == (crm, qa, Door.GATEWAY, credential.credential)
    assert (message.subject, message.requested) == ("Hello", ["customer@example.com"])


def test_the_whole_way_to_the_test_list_with_real_processes(signed_in, crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    set_list(crm, qa, "ana@acme.example")
    signed_in.sendmail("crm@acme.example", ["customer@example.com", "bcc@example.com"], mail())
    done = manage("deliver", "--once")
    assert done.returncode == 0, done.stderr
    (arrived,) = smtp_server.arrived
    assert arrived.recipients == ["ana@acme.example"]
    assert Message.objects.get().status == Status.SENT


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


def test_the_backend_works_in_the_portals_own_process(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    code = "from django.core.mail import send_mail; send_mail('Hi', 'Text', 'crm@acme.example', ['customer@example.com'])"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Message.objects.get().via == Door.BACKEND


def test_a_worker_process_delivers_what_is_accepted_while_it_runs(crm, qa, configured, smtp_server):
    from tests.support.portal import running

    with running("deliver"):
        send(crm, qa)
        eventually(lambda: smtp_server.arrived)
        eventually(lambda: Message.objects.get().status == Status.SENT)


def test_a_server_on_another_port_is_used_by_the_running_worker_after_saving(crm, qa, configured, smtp_server):
    from tests.support.portal import running

    with SmtpServer() as other, running("deliver"):
        send(crm, qa)
        eventually(lambda: len(smtp_server.arrived) == 1)
        configure(qa, other, from_domains="*")
        send(crm, qa)
        eventually(lambda: len(other.arrived) == 1)


@pytest.mark.requires_sqlite  # PostgreSQL's disk is not ours to fill
def test_a_full_disk_is_said_and_nothing_accepted(credential, crm, qa, monkeypatch):
    with connection.cursor() as cursor:
        (pages,) = cursor.execute("PRAGMA page_count").fetchone()
        (unused,) = cursor.execute("PRAGMA freelist_count").fetchone()
    body = "x" * 4096 * (unused + 20)
    handed = Handed(credential.credential.pk, Envelope("crm@acme.example", ["a@example.com"]), mail(body=body))
    options = connection.settings_dict["OPTIONS"]
    with monkeypatch.context() as full:
        full.setitem(options, "init_command", f"{options['init_command']}; PRAGMA max_page_count = {pages}")
        connection.close()
        (answer,) = store([handed])
    connection.close()
    assert sql.is_out_of_space(answer)
    assert not Message.objects.exists()
    (answer,) = store([handed])
    assert isinstance(answer, Accepted)


@pytest.mark.requires_postgresql
def test_a_column_that_changes_its_type_under_a_running_gateway_refuses_no_mail(credential):
    """PostgreSQL refuses a statement that was prepared for another type, over that connection for ever."""

    def alter(to: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE organization_app ALTER name TYPE {to}")
        connection.close()

    handed = Handed(credential.credential.pk, Envelope("crm@acme.example", ["a@example.com"]), mail())
    for _ in range(10):  # from the fifth time on they are prepared
        store([handed])
    with ThreadPoolExecutor(max_workers=1) as elsewhere:
        elsewhere.submit(alter, "text").result()
        try:
            answers = store([handed, handed])
        finally:
            connection.close()
            elsewhere.submit(alter, f"varchar({App._meta.get_field('name').max_length})").result()
    assert [type(answer) for answer in answers] == [Accepted, Accepted]


def test_a_database_that_can_only_be_read_takes_no_mail_and_says_so(credential, crm, qa, monkeypatch):
    handed = Handed(credential.credential.pk, Envelope("crm@acme.example", ["a@example.com"]), mail())
    options = connection.settings_dict["OPTIONS"]
    with monkeypatch.context() as read_only:
        if connection.vendor == "sqlite":
            read_only.setitem(options, "init_command", f"{options['init_command']}; PRAGMA query_only = 1")
        else:
            read_only.setitem(options, "options", "-c default_transaction_read_only=on")
        connection.close()
        (answer,) = store([handed])
    connection.close()
    assert sql.is_out_of_space(answer)
    assert not Message.objects.exists()
