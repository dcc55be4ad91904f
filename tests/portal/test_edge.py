"""What holds for every request and answer, whichever page it is for."""

from __future__ import annotations

import logging
import secrets
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog
from django.conf import settings as django_settings
from django.test import Client
from pytest_django import Settings
from structlog.typing import Processor

from organization import audit
from organization.models import App, AuditEvent, Member, Stage
from portal.log_config import OneLineFormatter
from portal.middleware.trusted_proxies import client_address
from tests.support.certificates import Authority
from tests.support.portal import OPERATOR, PASSWORD, configure

pytestmark = pytest.mark.django_db

ODD = ("\0", "a\0b", "\ud800")
HEADERS = ("HTTP_USER_AGENT", "HTTP_REFERER", "HTTP_X_REQUEST_ID", "HTTP_ACCEPT_LANGUAGE", "HTTP_HX_CURRENT_URL")


@pytest.fixture
def pages(crm: App, qa: Stage) -> list[str]:
    return [
        "/apps/",
        "/apps/crm/configuration/emails/qa/route/",
        "/management/view/audit-trail/",
        "/management/view/audit-trail/export/",
        "/monitor/email-log/qa/",
        "/monitor/email-log/qa/export/",
        "/monitor/analytics/qa/",
        "/admin/organization/member/",
    ]


def test_a_character_that_no_database_stores_finds_nothing_in_a_query(as_administrator: Client, pages: list[str]) -> None:
    names = ("q", "recipient", "member", "operation", "app", "stage", "since", "start", "before", "range", "to", "find", "p")
    for page in pages:
        answer = as_administrator.get(f"{page}?{'&'.join(f'{name}=a%00b' for name in names)}&%00=%ED%A0%80")
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        assert answer.status_code < 500, page
        assert b"\0" not in body


def test_no_time_is_too_early_or_too_late_to_ask_for(as_administrator: Client, pages: list[str]) -> None:
    for page in pages[2:-1]:
        answer = as_administrator.get(page, {"since": "custom", "range": "custom", "start": "0001-01-01T00:00"})
        assert answer.status_code < 500, page
        answer = as_administrator.get(page, {"since": "custom", "range": "custom", "end": "9999-12-31T23:59"})
        assert answer.status_code < 500, page


def test_a_charset_of_the_clients_own_smuggles_no_character_in(as_administrator: Client, pages: list[str]) -> None:
    for page in pages:
        answer = as_administrator.get(f"{page}?q=%5Cud800&operation=%5Cx00", CONTENT_TYPE="text/plain; charset=unicode_escape")
        assert answer.status_code < 500, page


def test_django_admin_knows_nothing_by_such_a_name(as_administrator: Client) -> None:
    for model in ("worker", "rollupposition"):
        for view in ("change", "history"):
            assert as_administrator.get(f"/admin/outbox/{model}/a_00/{view}/").status_code in (302, 403, 404)


@pytest.mark.parametrize("chosen", ["abc", "\0", "9" * 30])
def test_an_odd_choice_in_django_admin_is_no_error_of_ours(as_administrator: Client, chosen: str) -> None:
    data = {"action": "revoke", "_selected_action": chosen}
    assert as_administrator.post("/admin/organization/credential/", data).status_code < 500


@pytest.mark.parametrize("odd", ODD)
def test_such_a_character_in_a_path_or_header_is_a_400(as_administrator: Client, odd: str) -> None:
    for header in HEADERS:
        assert as_administrator.get("/apps/", **{header: odd}).status_code == 400  # type: ignore[arg-type]
    for path in ("/apps/%00/", "/monitor/email-log/q%00a/", "/admin/organization/app/%00/change/"):
        assert as_administrator.get(path).status_code == 400


def test_a_cookie_with_such_a_character_is_one_that_was_not_sent(client: Client) -> None:
    answer = client.get("/apps/", headers={"Cookie": 'sessionid="\\000"; stage="\\000"; messages="\\000"'})
    assert answer["Location"].startswith("/accounts/login/")


def test_the_audit_trail_takes_whatever_it_is_told(crm: App) -> None:
    crm.name = "C\0RM \ud800"
    event = audit.record(OPERATOR, "Update", crm, after={"said": ["\0", {"a\0": "\udfff"}], "number": 3})
    event.refresh_from_db()
    assert event.entity_name == "C\ufffdRM \ufffd"
    assert event.after == {"said": ["\ufffd", {"a\ufffd": "\ufffd"}], "number": 3}


def test_forwarded_headers_count_from_trusted_proxies_alone(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = ["testserver"]
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    assert Client().get("/accounts/login/", headers=forwarded).status_code == 301
    settings.TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        assert Client().get("/accounts/login/", headers=forwarded).status_code == 200
    assert {line["ip"] for line in lines if line["event"] == "request_started"} == {"192.0.2.7"}
    assert Client().get("/accounts/login/", headers=forwarded, REMOTE_ADDR="198.51.100.1").status_code == 301


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9", "192.0.2.7"], "192.0.2.7"),  # the client wrote the first one itself
        (["192.0.2.7", "10.0.0.2"], "192.0.2.7"),
        (["rubbish", "10.0.0.2"], "10.0.0.2"),
        (["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_client_is_the_nearest_that_is_no_proxy(hops: list[str], client: str) -> None:
    assert client_address("10.0.0.1", hops, [ip_network("10.0.0.0/8")]) == client


@pytest.mark.parametrize("path", ["/apps/", "/accounts/login/", "/nothing/", "/admin/organization/member/", "/healthz"])
def test_every_answer_is_kept_nowhere_and_belongs_to_this_site(as_administrator: Client, path: str) -> None:
    answer = as_administrator.get(path)
    assert "no-store" in answer["Cache-Control"]
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "camera=()" in answer["Permissions-Policy"]


def test_the_sign_in_page_tells_another_site_nothing(as_viewer: Client, client: Client) -> None:
    """A redirect to a picture, for those signed in, would let any site ask who is."""
    target = "/accounts/login/?next=/help/images/apps.png"
    answers = [who.get(target) for who in (as_viewer, client)]
    assert [answer.status_code for answer in answers] == [200, 200]
    page = answers[0].content.decode()
    assert "You are signed in as Vera Viewer" in page
    assert 'href="/help/images/apps.png">Continue' in page


@pytest.mark.parametrize("debug", [True, False])
def test_a_typed_secret_is_on_no_error_page(
    as_administrator: Client, qa: Stage, settings: Settings, monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("inside story")

    canary = secrets.token_hex(16)  # not in the source, which the page shows
    settings.DEBUG = debug
    settings.CELERY_BROKER_URL = f"redis://:{canary}@127.0.0.1/0"
    monkeypatch.setattr("emailconfig.services.audit.record", fail)
    monkeypatch.setattr(Member, "set_password", fail)
    monkeypatch.setattr("django.contrib.auth.forms.authenticate", fail)
    as_administrator.raise_request_exception = False
    smtp = {
        **{"server": "smtp.example.com", "port": "587", "security": "starttls", "authentication": "basic", "version": "0"},
        **{"username": "portal", "password": canary, "sender_address": "a@acme.example", "connections": "4"},
        **{"mails_per_minute": "0", "client_secret": canary},
    }
    passwords = {"old_password": PASSWORD, "new_password1": canary, "new_password2": canary}
    for path, typed in (
        ("/management/configure/emails/qa/edit/", smtp),
        ("/accounts/password/", passwords),
        ("/accounts/login/", {"username": "ada.admin@acme.example", "password": canary}),
    ):
        for accept in ("text/html", "text/plain"):
            answer = as_administrator.post(path, typed, headers={"Accept": accept})
            page = answer.content.decode()
            assert answer.status_code == 500, path
            assert ("inside story" in page) is debug
            assert canary not in page
            assert PASSWORD not in page


@pytest.mark.parametrize(
    "renderer",
    [structlog.processors.JSONRenderer(), django_settings.LOGGING["formatters"]["one_line"]["renderer"]],
    ids=["json", "console"],
)
def test_one_event_is_one_line_even_with_line_breaks_in_it(renderer: Processor, caplog: pytest.LogCaptureFixture) -> None:
    """A library's, and one of ours."""
    try:
        raise ValueError("first\nsecond\r\x1b[31m\u2028third")
    except ValueError:
        record = logging.LogRecord("library", logging.ERROR, "f.py", 1, "a\nb", (), sys.exc_info())
        structlog.get_logger("portal").exception("failed", value="a\nb")
    for line in (OneLineFormatter(renderer).format(record), caplog.messages[-1]):
        assert line.isprintable()
        assert "Traceback" in line
        assert "third" in line


def test_the_audit_trail_keeps_a_certificates_fingerprint(qa: Stage, tmp_path: Path) -> None:
    pem = Authority(tmp_path).pem
    configure(qa, security="starttls", ca_certificate=pem)
    kept = AuditEvent.objects.latest("pk").after["ca_certificate"]
    assert kept.startswith("SHA-256 ")
    assert "CERTIFICATE" not in str(AuditEvent.objects.latest("pk").after)


def test_trace_is_not_answered(client: Client) -> None:
    """It would repeat the request's headers."""
    assert client.trace("/accounts/login/", headers={"X-Canary": "canary"}).status_code == 405
