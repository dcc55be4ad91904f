"""Mail that is delivered with OAuth 2.0 tokens: a real token server, and an SMTP server that asks it."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from flask import Response

from delivery import backoff
from delivery.models import StageBackoff
from emailconfig.doctor.examination import examine
from emailconfig.models import OAuthToken, SmtpSettings
from emailconfig.services import delete_smtp_settings
from organization.models import Member
from outbox.models import Message, Status
from tests.support.certificates import Authority
from tests.support.outbox import deliver, deliver_beside, now_due, send
from tests.support.portal import OPERATOR, configure, eventually, manage
from tests.support.servers.oauth_server import Client, OAuthServer
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

MAILBOX = "no-reply@acme.example"
SECRET, TOKEN = "secret-kanarienvogel-1", "token-kanarienvogel-2"


@pytest.fixture(autouse=True)
def http_on_loopback(settings) -> None:
    settings.DEBUG = True


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer(Client(client_secret=SECRET)) as server:
        server.token = lambda: f"{TOKEN}-{server.requests}-" + "x" * 1500
        yield server


@pytest.fixture
def smtp_server(oauth) -> Iterator[SmtpServer]:
    with SmtpServer(bearer=["XOAUTH2"], token=oauth.refusal, pipelining=True) as server:
        yield server


@pytest.fixture
def configured(qa, smtp_server, oauth) -> SmtpSettings:
    return configure(qa, smtp_server, **oauth.values)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
def test_mail_goes_with_a_token(crm, qa, oauth, tmp_path, mechanism, security):
    authority = Authority(tmp_path)
    context = None if security == "none" else authority.server_context("localhost")
    with SmtpServer(tls=context, implicit_tls=security == "tls", bearer=[mechanism], token=oauth.refusal) as server:
        configure(qa, server, server="localhost", security=security, ca_certificate=authority.pem, **oauth.values)
        message = send(crm, qa)
        deliver()
        (arrived,) = server.arrived
        assert (arrived.login, arrived.tls) == (MAILBOX, security != "none")
        message.refresh_from_db()
        assert message.status == Status.SENT


def test_many_mails_over_many_connections_ask_for_one_token(crm, qa, configured, smtp_server, oauth):
    for _ in range(60):
        send(crm, qa)
    deliver()
    assert len(smtp_server.arrived) == 60
    assert smtp_server.connections > 1
    assert oauth.requests == 1


def test_workers_share_the_token(crm, qa, configured, smtp_server, oauth):
    for _ in range(2):
        send(crm, qa)
        assert manage("deliver", "--once").returncode == 0
    assert (len(smtp_server.arrived), smtp_server.connections, oauth.requests) == (2, 2, 1)


def test_mail_goes_with_a_fresh_token_when_the_kept_one_was_revoked(crm, qa, configured, smtp_server, oauth):
    send(crm, qa)
    deliver()
    oauth.revoke()
    send(crm, qa)
    deliver()
    assert len(smtp_server.arrived) == 2
    assert (oauth.requests, len(smtp_server.logins)) == (2, 3)
    assert not StageBackoff.objects.filter(failures__gt=0).exists()


def test_a_token_that_is_not_accepted_pauses_the_stage_after_two_sign_ins(crm, qa, configured, smtp_server, oauth):
    oauth.mailboxes = set()
    for _ in range(20):
        send(crm, qa)
    configure(qa, connections=1, port=smtp_server.port, new_secret=SECRET)
    deliver()
    deliver()
    queue = StageBackoff.objects.get(stage=qa)
    assert (queue.paused, queue.code, queue.failures) == (True, "token_not_accepted", 1)
    assert '"schemes":"bearer"' in queue.evidence
    assert (len(smtp_server.logins), oauth.requests) == (2, 2)
    assert set(Message.objects.values_list("status", flat=True)) == {Status.QUEUED}
    oauth.mailboxes = {MAILBOX}
    backoff.resume(qa, OPERATOR)
    deliver()
    assert len(smtp_server.arrived) == 20


@pytest.mark.parametrize(
    ("answer", "code", "paused"),
    [
        (Response('{"error":"invalid_client"}', 401), "token_client_refused", True),
        (Response('{"error":"invalid_scope"}', 400), "token_scope_refused", True),
        (Response("", 500), "token_server_error", False),
        (Response("", 429), "token_server_error", False),
        (Response("<html>"), "token_answer_unusable", True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_token_the_mail_waits(crm, qa, configured, smtp_server, oauth, answer, code, paused):
    oauth.before = lambda: answer
    message = send(crm, qa)
    deliver()
    queue = StageBackoff.objects.get(stage=qa)
    assert (queue.step, queue.code, queue.paused, oauth.requests) == ("token", code, paused, 1)
    oauth.before = lambda: None
    now_due()
    deliver()
    message.refresh_from_db()
    assert (message.status, len(smtp_server.arrived), oauth.requests) == (Status.SENT, 1, 2)


@pytest.mark.parametrize("token_is_kept", [False, True])
def test_without_the_key_the_mail_waits_and_goes_when_it_is_back(
    crm, qa, configured, smtp_server, oauth, settings, token_is_kept
):
    if token_is_kept:
        send(crm, qa)
        deliver()
    keys, settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS, [Fernet.generate_key().decode()]
    message = send(crm, qa)
    deliver()
    queue = StageBackoff.objects.get(stage=qa)
    message.refresh_from_db()
    assert (queue.code, queue.paused, message.status) == ("secret_unreadable", True, Status.QUEUED)
    assert oauth.requests == token_is_kept
    settings.ENCRYPTION_KEYS = keys
    backoff.resume(qa, OPERATOR)
    deliver()
    message.refresh_from_db()
    assert message.status == Status.SENT


def test_a_stage_whose_settings_are_deleted_while_its_workers_want_a_token_keeps_its_mail(
    crm, qa, configured, smtp_server, oauth
):
    go = threading.Event()
    oauth.before = lambda: go.wait(60) and None
    message = send(crm, qa)
    for _ in range(30):
        send(crm, qa)

    worker = threading.Thread(target=deliver_beside)
    worker.start()
    eventually(lambda: oauth.requests == 1 and smtp_server.connections > 1)
    delete_smtp_settings(qa, OPERATOR, expected_version=configured.version)
    go.set()
    worker.join(60)
    assert not worker.is_alive()
    assert smtp_server.arrived == []
    message.refresh_from_db()
    assert message.status in (Status.QUEUED, Status.HELD)


def test_client_secret_and_token_show_nowhere(crm, qa, configured, smtp_server, oauth, as_administrator, caplog, capfd):
    """Through a delivery, one with a token that was revoked, refusals by both servers, and a test of the connection."""
    caplog.set_level(logging.DEBUG)
    smtp_server.challenge = lambda token: f'{{"status":"401","token":"{token}"}}'
    echo = Response(f'{{"error":"invalid_client","error_description":"not {SECRET}"}}', 401)
    send(crm, qa)
    deliver()
    oauth.revoke()
    send(crm, qa)
    deliver()
    oauth.mailboxes = set()
    kept = OAuthToken.objects.get().token.stored
    pages = _pages(as_administrator)
    for before in (lambda: None, lambda: echo):
        oauth.before = before
        send(crm, qa)
        deliver()
        pages.append(str(examine(configured)))
        pages += [manage("check_smtp", "qa", "--json").stdout, manage("show_smtp", "qa").stdout, *_pages(as_administrator)]
        backoff.reset(qa.pk)
    deliver()
    assert configured.secret.stored not in "".join(pages)
    assert kept
    assert kept not in "".join(pages)
    text = caplog.text + "".join(capfd.readouterr()) + "".join(pages) + _tables()
    assert len(smtp_server.arrived) == 2
    assert "stage_in_trouble" in text
    assert "••••" in text
    assert "kanarienvogel" not in text
    if connection.vendor == "sqlite":
        file = Path(connection.settings_dict["NAME"])
        files = [str(part) for part in file.parent.glob(f"{file.name}*")]
        assert b"kanarienvogel" not in subprocess.run(["/bin/cat", *files], capture_output=True, check=True).stdout


def _pages(client) -> list[str]:
    Member.objects.update(is_staff=True)
    settings = SmtpSettings.objects.get()
    paths = [
        "/management/configure/emails/",
        "/management/configure/emails/qa/",
        "/management/configure/emails/qa/edit/",
        f"/admin/emailconfig/smtpsettings/{settings.pk}/change/",
        "/admin/emailconfig/oauthtoken/",
        f"/admin/emailconfig/oauthtoken/{settings.pk}/change/",
        f"/admin/emailconfig/oauthtoken/{settings.pk}/history/",
    ]
    answers = [client.get(path) for path in paths]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    return [answer.content.decode() for answer in answers]


def _tables() -> str:
    with connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            rows += cursor.fetchall()
    return str(rows)
