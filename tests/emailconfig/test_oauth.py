"""Signing in by OAuth 2.0: with a real token server, and an SMTP server that asks it whether a token is good."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.utils import timezone
from flask import Response, redirect
from pytest_django import Settings

from common.encryption import EncryptedValue
from emailconfig.connection import ConnectionFailure, connect, token_request, tokens
from emailconfig.doctor.examination import examine
from emailconfig.models import OAuthToken, SmtpSettings
from emailconfig.services import delete_smtp_settings
from organization.models import Stage
from tests.support.certificates import Authority
from tests.support.portal import OPERATOR, ROOT, configure, environment, eventually
from tests.support.servers.oauth_server import SCOPES, Client, OAuthServer
from tests.support.smtp_server import SmtpServer

pytestmark = [pytest.mark.django_db, pytest.mark.same_on_both, pytest.mark.slow]
several = pytest.mark.django_db(transaction=True)  # threads or processes, which see what the test has written

MAILBOX = "no-reply@acme.example"
SPECIAL = "a:b%&+ü= c"


@pytest.fixture(autouse=True)
def http_on_loopback(settings: Settings) -> None:
    settings.DEBUG = True


@pytest.fixture
def oauth() -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        yield server


@pytest.fixture
def smtp_server(oauth: OAuthServer) -> Iterator[SmtpServer]:
    with SmtpServer(bearer=["XOAUTH2"], token=oauth.refusal) as server:
        yield server


@pytest.fixture
def configured(qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer) -> SmtpSettings:
    return configure(qa, smtp_server, **oauth.values)


def sign_in(settings: SmtpSettings) -> None:
    connect(settings).close()


def trouble_with(settings: SmtpSettings) -> ConnectionFailure:
    with pytest.raises(ConnectionFailure) as raised:
        connect(settings)
    return raised.value


def in_threads(count: int, act: Callable[[], Any]) -> list[Any]:
    """Run an action on several threads at once. Returns the value or the exception of each."""

    def run(_: int) -> Any:
        try:
            return act()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def when_all_wait(smtp_server: SmtpServer, count: int, seconds: float = 0.3) -> Callable[[], None]:
    """For OAuthServer.before: don't answer until this many connections were greeted and wait for their token."""

    def wait() -> None:
        eventually(lambda: smtp_server.hellos >= count)
        time.sleep(seconds)

    return wait


def seconds_until(moment: Any) -> float:
    return (moment - timezone.now()).total_seconds()


# How it signs in


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_the_sender_is_the_mailbox_unless_a_user_is_given(
    qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer, mechanism: str
) -> None:
    smtp_server.bearer = [mechanism]
    oauth.mailboxes = {MAILBOX, "a=b,c@acme.example"}
    sign_in(configure(qa, smtp_server, **oauth.values))
    sign_in(configure(qa, smtp_server, **oauth.values, username="a=b,c@acme.example"))
    assert [mailbox for mailbox, _ in smtp_server.logins] == [MAILBOX, "a=b,c@acme.example"]


def test_a_senders_own_letters_are_signed_in_as_the_server_knows_them(
    qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    oauth.mailboxes = {"no-reply@xn--bcher-kva.example"}
    sign_in(configure(qa, smtp_server, **oauth.values, sender_address="no-reply@bücher.example"))
    assert [mailbox for mailbox, _ in smtp_server.logins] == ["no-reply@xn--bcher-kva.example"]


@pytest.mark.parametrize("authentication", ["client_secret_post", "client_secret_basic"])
def test_the_client_proves_itself_as_configured_whatever_its_secret_is_made_of(
    qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer, authentication: str
) -> None:
    oauth.client = Client(SPECIAL, f"secret {SPECIAL}", authentication=authentication)
    sign_in(configure(qa, smtp_server, **oauth.values))
    (form,) = oauth.forms
    assert form["scope"] == SCOPES
    assert ("client_secret" in form, form["authorization"] != "") == {
        "client_secret_post": (True, False),
        "client_secret_basic": (False, True),
    }[authentication]


def test_without_scopes_none_are_asked_for(qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer) -> None:
    sign_in(configure(qa, smtp_server, **{**oauth.values, "scopes": ""}))
    assert "scope" not in oauth.forms[0]


def test_a_server_that_takes_passwords_only_gets_no_token(qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer) -> None:
    smtp_server.bearer, smtp_server.users = [], {"portal": "password"}
    trouble = trouble_with(configure(qa, smtp_server, **oauth.values))
    assert (trouble.code, trouble.evidence) == ("oauth_not_offered", "The server announces: AUTH LOGIN PLAIN")


def test_the_token_server_must_prove_itself_before_it_gets_the_secret(
    qa: Stage, smtp_server: SmtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with OAuthServer(tls=authority.server_context("localhost"), host="localhost") as oauth:
        smtp_server.token = oauth.refusal
        settings = configure(qa, smtp_server, **oauth.values)
        assert trouble_with(settings).code == "token_server_certificate"
        assert oauth.requests == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))  # as if it were one of the system's
        sign_in(settings)
        elsewhere = oauth.url.replace("localhost", "127.0.0.1")
        settings = configure(qa, smtp_server, **{**oauth.values, "token_url": elsewhere})
        assert trouble_with(settings).code == "token_server_certificate"
        assert oauth.requests == 1


def test_a_token_server_may_have_a_certificate_of_the_stages_own_authority_or_of_a_public_one(
    qa: Stage, smtp_server: SmtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, public = Authority(tmp_path, "Our authority"), Authority(tmp_path, "Public authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(public.file))  # as if it were one of the system's
    with OAuthServer(tls=ours.server_context("localhost"), host="localhost") as oauth:
        smtp_server.token = oauth.refusal
        assert trouble_with(configure(qa, smtp_server, **oauth.values)).code == "token_server_certificate"
        sign_in(configure(qa, smtp_server, **oauth.values, ca_certificate=ours.pem))
    with OAuthServer(tls=public.server_context("localhost"), host="localhost") as oauth:
        smtp_server.token = oauth.refusal
        sign_in(configure(qa, smtp_server, **oauth.values, ca_certificate=ours.pem))


# One token for all


def test_one_token_serves_many_connections(configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer) -> None:
    for _ in range(20):
        sign_in(configured)
    assert len(smtp_server.logins) == 20
    assert oauth.requests == 1


@several
def test_however_many_threads_want_a_token_one_asks(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    oauth.before = when_all_wait(smtp_server, 10)
    assert in_threads(10, lambda: sign_in(configured)) == [None] * 10
    assert oauth.requests == 1
    assert len(smtp_server.logins) == 10


@several
def test_however_many_processes_want_a_token_one_asks_and_none_has_a_secret_among_its_arguments(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    seen: list[bytes] = []

    def before() -> None:
        when_all_wait(smtp_server, 3)()
        seen.extend(Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in processes)

    oauth.before = before
    script = "from emailconfig.connection import connect; from emailconfig.models import *; connect(SmtpSettings.objects.get())"
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", script]
    processes = [subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert oauth.requests == 1
    assert len(smtp_server.logins) == 3
    assert len(seen) == 3
    assert oauth.client.client_secret.encode() not in b"".join(seen)


@several
def test_a_token_is_renewed_before_it_ends_and_serves_the_others_meanwhile(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    sign_in(configured)
    kept = OAuthToken.objects.get()
    assert kept.renew_at and kept.expires
    assert 3540 < seconds_until(kept.expires) < 3600
    assert 3240 < seconds_until(kept.renew_at) < 3300
    OAuthToken.objects.update(renew_at=timezone.now())
    go = threading.Event()
    oauth.before = lambda: go.wait(60) and None
    renewing = threading.Thread(target=lambda: in_threads(1, lambda: sign_in(configured)))
    renewing.start()
    eventually(lambda: oauth.requests == 2)
    for _ in range(3):
        sign_in(configured)
    go.set()
    renewing.join()
    sign_in(configured)
    first, *same, renewed, last = [token for _, token in smtp_server.logins]
    assert same == [first] * 3
    assert renewed == last != first
    assert oauth.requests == 2


def test_a_short_lived_token_is_renewed_in_its_last_quarter(qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer) -> None:
    oauth.changes = {"expires_in": 40}
    sign_in(configure(qa, smtp_server, **oauth.values))
    kept = OAuthToken.objects.get()
    assert kept.renew_at and kept.expires
    assert kept.expires - kept.renew_at == timedelta(seconds=10)


def test_while_the_token_server_is_away_the_kept_token_serves_to_its_end(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    sign_in(configured)
    OAuthToken.objects.update(renew_at=timezone.now())
    oauth.before = lambda: Response(status=503)
    for _ in range(3):
        sign_in(configured)
    assert oauth.requests == 2  # not for each connection
    OAuthToken.objects.update(asked_at=None, expires=timezone.now())
    assert trouble_with(configured).code == "token_server_error"


def test_other_settings_want_another_token(
    qa: Stage, configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    sign_in(configured)
    changed = configure(qa, smtp_server, sender_name="Acme Corp")
    sign_in(changed)
    sign_in(changed)
    (_, first), (_, second), (_, third) = smtp_server.logins
    assert first != second == third
    assert oauth.requests == 2


def test_a_worker_that_dies_while_it_asks_for_a_token_holds_others_up_only_briefly(
    configured: SmtpSettings, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = timezone.now()
    OAuthToken.objects.create(settings=configured, asked_at=died)
    monkeypatch.setattr(tokens, "_ASKING", timedelta(seconds=1))
    asked: list[Any] = []
    oauth.before = lambda: asked.append(timezone.now())
    sign_in(configured)
    (moment,) = asked
    assert moment - died >= timedelta(seconds=1)


def test_a_worker_stops_waiting_for_a_token_that_another_one_doesnt_get(
    configured: SmtpSettings, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    OAuthToken.objects.create(settings=configured, asked_at=timezone.now())
    monkeypatch.setattr(tokens, "_WAIT_SECONDS", 0.5)
    assert trouble_with(configured).code == "token_timeout"
    assert oauth.requests == 0


# A token that isn't accepted


def test_a_revoked_token_is_dropped_and_a_fresh_one_signs_in(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    sign_in(configured)
    oauth.revoke()
    sign_in(configured)
    sign_in(configured)
    assert (oauth.requests, len(smtp_server.logins)) == (2, 4)


@several
def test_many_connections_with_a_revoked_token_ask_for_one_fresh_token(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    sign_in(configured)
    oauth.revoke()
    oauth.before = when_all_wait(smtp_server, 11)
    assert in_threads(10, lambda: sign_in(configured)) == [None] * 10
    assert oauth.requests == 2


def test_a_fresh_token_that_replaced_the_refused_one_meanwhile_is_kept(configured: SmtpSettings, oauth: OAuthServer) -> None:
    sign_in(configured)
    (old,) = oauth.issued
    OAuthToken.objects.update(token=EncryptedValue.of("fresh"))
    tokens.drop(configured, old)
    assert OAuthToken.objects.get().token.reveal() == "fresh"


def test_a_token_that_is_never_accepted_is_tried_twice(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    oauth.mailboxes = set()
    trouble = trouble_with(configured)
    assert (trouble.step, trouble.code, trouble.needs_a_person) == ("AUTH", "token_not_accepted", True)
    assert trouble.evidence == ('535 5.7.3 Authentication unsuccessful {"status":"401","schemes":"bearer","scope":"mail.send"}')
    assert (oauth.requests, len(smtp_server.logins)) == (2, 2)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_the_servers_reason_is_shown_decoded(configured: SmtpSettings, smtp_server: SmtpServer, mechanism: str) -> None:
    smtp_server.bearer, smtp_server.token = [mechanism], lambda *_: "535 5.7.8 No"
    smtp_server.challenge = lambda token: f'{{"status":"400","why":"{token} is\x1b no good"}}'
    token, finding = examine(configured)[-2:]
    assert (token.step, token.ok, finding.code) == ("token", True, "token_not_accepted")
    assert '{"status":"400","why":"•••• is no good"}' in finding.evidence
    assert "535 5.7.8 No" in finding.evidence  # said once the reason was answered as the mechanism wants
    assert smtp_server.logins[0][1] not in str(finding)


@pytest.mark.parametrize(
    ("said", "code", "sign_ins"),
    [
        ("454 4.7.0 Temporary authentication failure", "auth_later", 1),
        ("535 5.7.139 SmtpClientAuthentication is disabled for the Mailbox", "microsoft_mailbox_off", 1),
        ("535-5.7.8 Username and Password not accepted\r\n535 5.7.8 gsmtp", "token_not_accepted", 2),
    ],
)
def test_a_refusal_that_is_not_about_the_token_is_not_tried_again(
    configured: SmtpSettings, smtp_server: SmtpServer, said: str, code: str, sign_ins: int
) -> None:
    smtp_server.token = lambda *_: said
    assert trouble_with(configured).code == code
    assert len(smtp_server.logins) == sign_ins


# What the token server may answer


def answering(body: bytes | str = b"", status: int = 200) -> Callable[[OAuthServer], None]:
    def tell(oauth: OAuthServer) -> None:
        oauth.before = lambda: Response(body, status, mimetype="application/json")

    return tell


def with_token(**changes: Any) -> Callable[[OAuthServer], None]:
    return lambda oauth: oauth.changes.update(changes)


def with_client(**changes: Any) -> Callable[[OAuthServer], None]:
    return lambda oauth: [setattr(oauth.client, name, value) for name, value in changes.items()] and None


def redirecting(oauth: OAuthServer) -> None:
    oauth.before = lambda: redirect(f"{oauth.url}&followed", 307)


FAULTS: dict[str, tuple[Callable[[OAuthServer], None], str, str]] = {
    "wrong secret": (with_client(client_secret="other"), "token_client_refused", "401 invalid_client"),
    "unknown client": (with_client(client_id="other"), "token_client_refused", "invalid_client"),
    "other client authentication": (with_client(authentication="client_secret_basic"), "token_client_refused", "invalid_client"),
    "scope": (with_client(scopes="other"), "token_scope_refused", "400 invalid_scope"),
    "grant": (with_client(grants=()), "token_request_refused", "400 unauthorized_client"),
    "404": (answering("<h1>Not found</h1>", 404), "token_request_refused", "404"),
    "500": (answering("oops", 500), "token_server_error", "500"),
    "503": (answering("", 503), "token_server_error", "503"),
    "429": (answering('{"error":"slow_down"}', 429), "token_server_error", "429 slow_down"),
    "redirect": (redirecting, "token_redirected", "307 TEMPORARY REDIRECT"),
    "huge": (answering(b" " * 1_000_000), "token_answer_unusable", "65,536"),
    "HTML": (answering("<html>Sign in here</html>"), "token_answer_unusable", "access_token"),
    "nothing": (answering(), "token_answer_unusable", "access_token"),
    "no text": (answering(b"\xff\xfe\xfd"), "token_answer_unusable", "access_token"),
    "a list": (answering("[1]"), "token_answer_unusable", "access_token"),
    "deep": (answering("[" * 60_000), "token_answer_unusable", "access_token"),
    "endless number": (answering('{"expires_in":' + "9" * 60_000 + "}"), "token_answer_unusable", "access_token"),
    "missing token": (with_token(access_token=...), "token_answer_unusable", "access_token"),
    "empty token": (with_token(access_token=""), "token_answer_unusable", "access_token"),
    "token that is a number": (with_token(access_token=17), "token_answer_unusable", "access_token"),
    "line break in the token": (with_token(access_token="token\r\nRSET"), "token_answer_unusable", "characters"),
    "line break after the token": (with_token(access_token="token\n"), "token_answer_unusable", "characters"),
    "separator in the token": (with_token(access_token="token\x01\x01"), "token_answer_unusable", "characters"),
    "token with letters of its own": (with_token(access_token="tökén"), "token_answer_unusable", "characters"),
    "MAC": (with_token(token_type="mac"), "token_answer_unusable", "type mac"),
    "type that is none": (with_token(token_type=["bearer"]), "token_answer_unusable", "has the type"),
    "negative": (with_token(expires_in=-1), "token_answer_unusable", "“-1” seconds"),
    "over at once": (with_token(expires_in=0), "token_answer_unusable", "“0” seconds"),
    "soon": (with_token(expires_in="soon"), "token_answer_unusable", "“soon” seconds"),
    "absurd": (with_token(expires_in=1e300), "token_answer_unusable", "“1e+300” seconds"),
    "true": (with_token(expires_in=True), "token_answer_unusable", "“True” seconds"),
    "other digits": (with_token(expires_in="٣٦٠٠"), "token_answer_unusable", "“٣٦٠٠” seconds"),
}
FOR_A_WHILE = {"token_server_error", "token_timeout", "token_server_unreachable", "name_not_usable"}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_token_server_answers_has_an_explanation_and_is_asked_for_once(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer, fault: str
) -> None:
    tell, code, said = FAULTS[fault]
    tell(oauth)
    trouble = trouble_with(configured)
    assert (trouble.step, trouble.code) == ("token", code)
    assert said in trouble.evidence
    assert len(trouble.evidence) <= 1000
    assert trouble.needs_a_person is (code not in FOR_A_WHILE)
    assert (oauth.requests, smtp_server.logins) == (1, [])


@pytest.mark.parametrize(
    ("expires_in", "seconds"), [(3600, 3600), ("3600", 3600), (3599.9, 3599), (10**9, 86400), (..., 300), (None, 300)]
)
def test_how_long_a_token_holds_may_be_written_in_several_ways(
    configured: SmtpSettings, oauth: OAuthServer, expires_in: Any, seconds: int
) -> None:
    oauth.changes = {"expires_in": expires_in}
    sign_in(configured)
    assert seconds - 60 < seconds_until(OAuthToken.objects.get().expires) <= seconds


@pytest.mark.parametrize("changes", [{"token_type": "BEARER"}, {"token_type": ...}, {"unknown": {"deep": [1]}}])
def test_what_else_is_in_the_answer_does_not_matter(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer, changes: dict[str, Any]
) -> None:
    oauth.changes = changes
    sign_in(configured)
    assert [mailbox for mailbox, _ in smtp_server.logins] == [MAILBOX]


@pytest.mark.parametrize("fault", ["hangs", "drips"])
def test_a_token_server_that_wears_others_out_is_left_in_time(
    configured: SmtpSettings, oauth: OAuthServer, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(token_request, "ASK_SECONDS", 0.7)
    oauth.before = getattr(oauth, fault)
    assert trouble_with(configured).code == "token_timeout"


def test_what_is_no_token_server_at_all_is_told_apart(
    qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer, closed_port: int
) -> None:
    for url, code in (
        (f"http://127.0.0.1:{closed_port}/token", "token_server_unreachable"),
        (f"http://127.0.0.1:{smtp_server.port}/token", "token_answer_unusable"),
        (f"https://127.0.0.1:{oauth.port}/token", "token_server_unreachable"),
        ("https://token.invalid/token", "name_not_usable"),
        ("https://255.255.255.255/token", "token_server_refused"),
    ):
        trouble = trouble_with(configure(qa, smtp_server, **{**oauth.values, "token_url": url}))
        assert (url, trouble.code) == (url, code)
        assert trouble.needs_a_person is (code not in FOR_A_WHILE)
    assert oauth.requests == 0


@several
@pytest.mark.parametrize("fault", ["wrong secret", "scope", "500"])
def test_a_refusal_reaches_all_who_wait_without_each_of_them_asking(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer, fault: str
) -> None:
    tell, code, _ = FAULTS[fault]
    tell(oauth)
    refuse, wait = oauth.before, when_all_wait(smtp_server, 10, 1.0)
    oauth.before = lambda: wait() or refuse()
    troubles = in_threads(10, lambda: sign_in(configured))
    assert {trouble.code for trouble in troubles} == {code}
    assert len({trouble.evidence for trouble in troubles}) == 1
    assert oauth.requests == 1


@several
def test_a_refusal_of_settings_that_were_corrected_meanwhile_is_not_taken_for_one_of_the_new(
    qa: Stage, configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer
) -> None:
    refused = Response('{"error":"invalid_client"}', 401)
    go = threading.Event()
    oauth.before = lambda: go.wait(60) and (None if oauth.requests > 1 else refused)
    old = threading.Thread(target=lambda: in_threads(1, lambda: sign_in(configured)))
    old.start()
    eventually(lambda: oauth.requests == 1)
    new = configure(qa, smtp_server, new_secret=oauth.client.client_secret)
    threading.Timer(0.5, go.set).start()
    sign_in(new)
    old.join()


def test_after_a_refusal_the_next_one_asks_again(configured: SmtpSettings, oauth: OAuthServer) -> None:
    oauth.before = lambda: Response(status=500)
    assert trouble_with(configured).code == trouble_with(configured).code == "token_server_error"
    assert oauth.requests == 2
    oauth.before = lambda: None
    sign_in(configured)


# Keys that were lost


def test_lost_keys_are_told_in_words_at_once(
    configured: SmtpSettings, smtp_server: SmtpServer, oauth: OAuthServer, settings: Settings
) -> None:
    for kept in (0, 1):
        if kept:
            sign_in(configured)
        keys, settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS, [Fernet.generate_key().decode()]
        trouble = trouble_with(SmtpSettings.objects.get())
        assert (trouble.code, trouble.needs_a_person) == ("secret_unreadable", True)
        settings.ENCRYPTION_KEYS = keys
        assert (oauth.requests, len(smtp_server.logins)) == (kept, kept)
    sign_in(configured)


def test_a_stored_token_that_no_key_decrypts_is_requested_again(
    configured: SmtpSettings, oauth: OAuthServer, settings: Settings
) -> None:
    keys, other = settings.ENCRYPTION_KEYS, Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [other, *keys]
    sign_in(configured)
    settings.ENCRYPTION_KEYS = keys
    sign_in(configured)
    sign_in(configured)
    assert oauth.requests == 2


def test_settings_that_are_deleted_take_their_token_along(qa: Stage, configured: SmtpSettings) -> None:
    sign_in(configured)
    delete_smtp_settings(qa, OPERATOR, expected_version=configured.version)
    assert not OAuthToken.objects.exists()


# The client secret and the token stay where they belong

CANARY = "kanarienvogel  +9d/1f:4c"


def _echoed(oauth: OAuthServer) -> dict[str, Callable[[], Response]]:
    """A token server that repeats the secret, encoded so that a simple search doesn't find it."""
    basic = base64.b64encode(f"{quote(oauth.client.client_id, safe='')}:{quote(CANARY, safe='')}".encode()).decode()
    says = {
        "as it is": CANARY,
        "encoded": quote_plus(CANARY),
        "percent-encoded": quote(CANARY, safe=""),
        "at the end of what is shown": "x" * (1000 - len("400 invalid_request ") - 14) + CANARY,
        "as the header": f"Basic {basic}",
    }
    return {
        **{
            way: lambda text=text: Response(f'{{"error":"invalid_request","error_description":"You sent {text}"}}', 400)
            for way, text in says.items()
        },
        "as the error": lambda: Response(f'{{"error":"{CANARY}"}}', 400),
        "as the type": lambda: Response(f'{{"access_token":"t","token_type":"{CANARY}"}}'),
        "as the lifetime": lambda: Response(f'{{"access_token":"t","expires_in":"{CANARY}"}}'),
        "in the way it redirects": lambda: Response(status=f"302 {CANARY}", headers={"Location": f"/?{quote(CANARY)}"}),
    }


@pytest.mark.parametrize("way", _echoed(OAuthServer()))
@pytest.mark.parametrize("authentication", ["client_secret_post", "client_secret_basic"])
def test_a_token_server_that_repeats_the_client_secret_is_not_repeated(
    qa: Stage, smtp_server: SmtpServer, oauth: OAuthServer, authentication: str, way: str
) -> None:
    oauth.client = Client(client_secret=CANARY, authentication=authentication)
    oauth.before = _echoed(oauth)[way]
    settings = configure(qa, smtp_server, **oauth.values)
    trouble = trouble_with(settings)
    findings = examine(settings)
    assert oauth.requests == 2
    shown = "".join([trouble.evidence, str(findings), *traceback.format_exception(trouble), str(OAuthToken.objects.values())])
    assert "400" in shown or "type" in shown or "lifetime" in shown or "302" in shown
    for part in ("kanarienvogel", "9d/1f", "9d%2F1f", base64.b64encode(b"portal:kanarien")[:-4].decode()):
        assert part not in shown
