"""What is refused, kept and stored is the same in the browser, in Django admin, at the command line and in the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from emailconfig.models import SECRET_AGAIN, SmtpSettings
from emailconfig.services import settings_of
from emailconfig.validators import PORT_25_REFUSED
from organization.models import AuditEvent, Stage
from tests.support.certificates import Authority
from tests.support.emailconfig import CANARY, VALUES, WITH_CLIENT_SECRET, WITH_PASSWORD, EntryPoint, by_service, version_of
from tests.support.portal import configure

pytestmark = [pytest.mark.same_on_both, pytest.mark.slow]

SPELLINGS_OF_25 = ["25", " 25", "25 ", "025", "+25", "25.0", "25.", "٢٥", "２５", "2_5"]
ONLY_TEXT = {"25.0", "25."}  # a number to the form, not to the model, which refuses the text


@pytest.mark.parametrize("port", SPELLINGS_OF_25)
def test_port_25_is_refused_in_every_spelling(entry_point: EntryPoint, qa: Stage, port: str) -> None:
    error = entry_point(qa, port=port)
    assert error.startswith("port: ")
    assert PORT_25_REFUSED in error or (entry_point is by_service and port in ONLY_TEXT)
    assert settings_of(qa) is None


def test_the_reason_against_port_25_is_said_once_and_in_these_words(entry_point: EntryPoint, qa: Stage) -> None:
    assert entry_point(qa, port="25") == (
        "port: SMTP port 25 isn't supported: it is often targeted for spam and restricted by providers. Use 587."
    )


@pytest.mark.parametrize("port", ["0", "-1", "65536", "1" + "0" * 30, "smtp", "587x", "58 7", "0x19", "1e3", "587.5", "\0", ""])
def test_what_is_no_port_is_refused(entry_point: EntryPoint, qa: Stage, port: str) -> None:
    assert entry_point(qa, port=port).startswith("port: ")
    assert settings_of(qa) is None


@pytest.mark.parametrize(
    ("port", "stored"), [("587", 587), ("465", 465), (" 2525 ", 2525), ("0587", 587), ("1", 1), ("65535", 65535)]
)
def test_other_ports_are_stored(entry_point: EntryPoint, qa: Stage, port: str, stored: int) -> None:
    assert entry_point(qa, port=port) == ""
    assert SmtpSettings.objects.get(stage=qa).port == stored


@pytest.mark.parametrize("port", [25, 0, -1, 65536])
def test_the_database_itself_refuses_the_port(qa: Stage, port: int) -> None:
    configure(qa)
    with pytest.raises(IntegrityError, match="smtp_port_supported"), transaction.atomic():
        SmtpSettings.objects.update(port=port)


def test_the_port_proposed_is_587() -> None:
    assert SmtpSettings().port == 587


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("server", "smtp://smtp.example.com"),
        ("server", "smtp.example.com:587"),
        ("server", "smtp.exam ple.com"),
        ("server", "smtp.example.com\r\nRSET"),
        ("server", "user@smtp.example.com"),
        ("server", ""),
        ("server", "x" * 256),
        ("server", "0.0.0.0"),
        ("server", "169.254.169.254"),
        ("server", "fe80::1"),
        ("server", "fd00:ec2::254"),
        ("server", "224.0.0.1"),
        ("server", "64:ff9b::a9fe:a9fe"),
        ("sender_address", "no-reply@acme.example\r\nBcc: eve@example.com"),
        ("sender_address", "a@acme.example, b@acme.example"),
        ("sender_address", ""),
        ("sender_name", "Acme\r\nBcc: eve@example.com"),
        ("sender_name", "A" * 101),
        ("username", "portal\r\nRSET"),
        ("from_domains", "https://acme.example"),
        ("security", "opportunistic"),
        ("authentication", "kerberos"),
        ("connections", "0"),
        ("connections", "101"),
        ("mails_per_minute", "-1"),
        ("mails_per_minute", "1000001"),
        ("recipients_per_transaction", "0"),
        ("recipients_per_transaction", "1001"),
        ("ehlo_name", "portal.acme.example\r\nRSET"),
        ("ehlo_name", "192.0.2.1"),
    ],
)
def test_bad_values_are_refused_at_their_field_and_nothing_is_stored(
    entry_point: EntryPoint, qa: Stage, field: str, value: str
) -> None:
    error = entry_point(qa, **{**WITH_PASSWORD, field: value})
    assert field.replace("_", "-") in error.replace("_", "-")  # argparse names an option, the others a field
    assert settings_of(qa) is None
    assert not AuditEvent.objects.filter(entity="SMTP settings").exists()


def test_a_password_kept_when_left_empty_is_the_stored_one(entry_point: EntryPoint, configured: SmtpSettings) -> None:
    values = {**WITH_PASSWORD, "password": "", "sender_name": "Acme Corp"}
    assert entry_point(configured.stage, **values) == ""
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.sender_name, smtp_settings.secret.reveal()) == ("Acme Corp", CANARY)


CHANGED_DESTINATION = [
    ("server", "smtp.evil.example"),
    ("port", "465"),
    ("security", "tls"),
    ("username", "somebody-else"),
]


@pytest.mark.parametrize(("field", "value"), CHANGED_DESTINATION)
def test_the_password_is_asked_for_again_when_its_destination_changes(
    entry_point: EntryPoint, configured: SmtpSettings, field: str, value: str
) -> None:
    error = entry_point(configured.stage, **{**WITH_PASSWORD, "password": "", field: value})
    assert error == f"password: {SECRET_AGAIN.format(secret='password')}"
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.server, smtp_settings.port, smtp_settings.version) == ("smtp.example.com", 587, 1)


@pytest.mark.parametrize(("field", "value"), CHANGED_DESTINATION)
def test_a_password_that_is_entered_again_may_go_to_a_new_destination(
    entry_point: EntryPoint, configured: SmtpSettings, field: str, value: str
) -> None:
    assert entry_point(configured.stage, **{**WITH_PASSWORD, "password": "another", field: value}) == ""
    smtp_settings = SmtpSettings.objects.get()
    assert (str(getattr(smtp_settings, field)), smtp_settings.secret.reveal()) == (value, "another")


def test_the_password_belongs_to_the_authority_that_vouches_for_its_server(
    entry_point: EntryPoint, configured: SmtpSettings, tmp_path: Path
) -> None:
    ours = {**WITH_PASSWORD, "ca_certificate": Authority(tmp_path).pem}
    again = f"password: {SECRET_AGAIN.format(secret='password')}"
    assert entry_point(configured.stage, **{**ours, "password": ""}) == again
    assert entry_point(configured.stage, **ours) == ""
    assert entry_point(configured.stage, **{**ours, "password": "", "ca_certificate": Authority(tmp_path).pem}) == again
    assert entry_point(configured.stage, **{**WITH_PASSWORD, "password": ""}) == again
    in_other_lines = ours["ca_certificate"].replace("\n", "\r\n").strip()
    assert entry_point(configured.stage, **{**ours, "password": "", "ca_certificate": in_other_lines}) == ""
    assert SmtpSettings.objects.get().secret.reveal() == CANARY


def test_the_same_server_in_other_spelling_is_the_same_destination(entry_point: EntryPoint, configured: SmtpSettings) -> None:
    assert entry_point(configured.stage, **{**WITH_PASSWORD, "password": "", "server": "SMTP.Example.COM."}) == ""


def test_switching_authentication_off_forgets_user_and_password_so_that_on_again_asks_for_both(
    entry_point: EntryPoint, configured: SmtpSettings
) -> None:
    assert entry_point(configured.stage, **{**VALUES, "username": "portal"}) == ""
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.username, smtp_settings.secret.stored) == ("", "")
    assert "Enter the password" in entry_point(configured.stage, **{**WITH_PASSWORD, "password": ""})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"password": ""}, "password"),
        ({"username": ""}, "username"),
        ({"password": "with\tcontrol"}, "password"),
        ({"password": "with\0nul"}, "password"),
    ],
)
def test_basic_authentication_needs_a_user_and_a_password_on_one_line(
    entry_point: EntryPoint, qa: Stage, values: dict[str, Any], field: str
) -> None:
    error = entry_point(qa, **{**WITH_PASSWORD, **values})
    assert error.startswith(f"{field}: ")
    assert "This field is required" not in error  # but what for
    assert settings_of(qa) is None


@pytest.mark.parametrize("password", [" surrounded by blanks ", "pässwört-€-密码", "x" * 4000, "'\"\\;--<script>"])
def test_any_printable_password_is_kept_exactly_as_typed(entry_point: EntryPoint, qa: Stage, password: str) -> None:
    assert entry_point(qa, **{**WITH_PASSWORD, "password": password}) == ""
    assert SmtpSettings.objects.get().secret.reveal() == password


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("smtp.example.com", True),
        ("10.0.0.25", True),
        ("127.0.0.1.example.com", True),
        ("localhost.example.com", True),
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("localhost", False),
        ("LOCALHOST.", False),
    ],
)
def test_a_password_goes_unencrypted_to_this_machine_only(entry_point: EntryPoint, qa: Stage, server: str, refused: bool) -> None:
    error = entry_point(qa, **{**WITH_PASSWORD, "security": "none", "server": server})
    assert ("A password is never sent unencrypted" in error) is refused
    assert SmtpSettings.objects.exists() is not refused


def test_without_a_password_mail_may_go_unencrypted_anywhere(entry_point: EntryPoint, qa: Stage) -> None:
    assert entry_point(qa, security="none") == ""


def test_saving_counts_the_version_and_writes_who_changed_what(entry_point: EntryPoint, configured: SmtpSettings) -> None:
    assert entry_point(configured.stage, **{**WITH_PASSWORD, "password": "", "sender_name": "Acme Corp"}) == ""
    assert version_of(configured.stage) == 2
    event = AuditEvent.objects.get(operation="Update", entity="SMTP settings")
    assert event.before.pop("sender_name") == "Acme"
    assert event.after.pop("sender_name") == "Acme Corp"
    assert {*event.before, *event.after} <= {"version", "updated", "updated_by"}
    assert event.stage == configured.stage
    assert event.app is None
    assert event.actor_name == SmtpSettings.objects.get().updated_by


def test_the_audit_trail_tells_that_a_password_was_changed_but_not_what_it_is(
    entry_point: EntryPoint, configured: SmtpSettings
) -> None:
    assert entry_point(configured.stage, **{**WITH_PASSWORD, "password": "another-canary"}) == ""
    event = AuditEvent.objects.get(operation="Update", entity="SMTP settings")
    assert event.before["secret"] == event.after["secret"] == "••••••••"
    assert "another-canary" not in str(AuditEvent.objects.values_list())


# OAuth 2.0


def test_client_credentials_are_stored_as_they_were_entered(entry_point: EntryPoint, qa: Stage) -> None:
    values = {**WITH_CLIENT_SECRET, "client_id": "a:b%&+ü", "client_authentication": "client_secret_basic"}
    assert entry_point(qa, **{**values, "client_secret": "a:b%&+ü "}) == ""
    smtp_settings = SmtpSettings.objects.get()
    assert {name: getattr(smtp_settings, name) for name in ("token_url", "client_id", "scopes", "client_authentication")} == {
        "token_url": "https://login.example.com/tenant/token",
        "client_id": "a:b%&+ü",
        "scopes": "https://smtp.example.com/.default",
        "client_authentication": "client_secret_basic",
    }
    assert (smtp_settings.username, smtp_settings.secret.reveal()) == ("mailbox@acme.example", "a:b%&+ü ")


def test_the_mailbox_and_the_scopes_may_be_left_out(entry_point: EntryPoint, qa: Stage) -> None:
    assert entry_point(qa, **{**WITH_CLIENT_SECRET, "username": "", "scopes": ""}) == ""
    assert SmtpSettings.objects.get().mailbox == "no-reply@acme.example"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_url", ""),
        ("token_url", "login.example.com/token"),
        ("token_url", "http://login.example.com/token"),
        ("token_url", "http://127.0.0.1/token"),
        ("token_url", "ftp://login.example.com/token"),
        ("token_url", "javascript:alert(1)"),
        ("token_url", "https:///token"),
        ("token_url", "https://[::1/token"),
        ("token_url", "https://user@login.example.com/token"),
        ("token_url", "https://user:password@login.example.com/token"),
        ("token_url", "https://login.example.com\\@evil.example/token"),
        ("token_url", "https://login.example.com/token#fragment"),
        ("token_url", "https://login.example.com/to ken"),
        ("token_url", "https://login.example.com/token\r\nX: y"),
        ("token_url", "https://login.example.com/t\tken"),
        ("token_url", "https://login.example.com/tökens"),
        ("token_url", "https://login.example.com:25/token"),
        ("token_url", "https://169.254.169.254/token"),
        ("token_url", "https://[::ffff:169.254.169.254]/token"),
        ("token_url", "https://0x7f000001/token"),
        ("token_url", f"https://{'ü' * 60}.example/{'x' * 930}"),  # too long only as an A-label
        ("token_url", "https://login..example.com/token"),
        ("token_url", "https://login.example.com:0/token"),
        ("token_url", "https://login.example.com:65536/token"),
        ("token_url", "https://login.example.com/" + "x" * 1000),
        ("client_id", ""),
        ("client_id", "portal\r\nRSET"),
        ("client_id", "x" * 256),
        ("scopes", "one\ntwo"),
        ("client_authentication", "private_key_jwt"),
        ("username", "jürgen@acme.example"),
        ("client_secret", ""),
        ("client_secret", "with\tcontrol"),
        ("client_secret", "••••••••"),
        ("client_secret", "●●●●●●●●"),
        ("security", "none"),
    ],
)
def test_bad_client_credentials_are_refused_at_their_field_and_nothing_is_stored(
    entry_point: EntryPoint, qa: Stage, field: str, value: str
) -> None:
    error = entry_point(qa, **{**WITH_CLIENT_SECRET, field: value})
    assert field.replace("_", "-") in error.replace("_", "-")  # argparse names an option, the others a field
    assert "This field is required" not in error  # but what for
    assert CANARY not in error
    assert settings_of(qa) is None


@pytest.mark.parametrize("dots", ["••••••••", "●●●●●●●●"])
def test_the_dots_that_stand_for_a_password_are_none(entry_point: EntryPoint, qa: Stage, dots: str) -> None:
    assert entry_point(qa, **{**WITH_PASSWORD, "password": dots}).startswith("password: The dots are not a password")
    assert settings_of(qa) is None


def test_a_sender_outside_ascii_needs_a_mailbox_that_is_inside(entry_point: EntryPoint, qa: Stage) -> None:
    values = {**WITH_CLIENT_SECRET, "sender_address": "jürgen@bücher.example"}
    assert entry_point(qa, **{**values, "username": ""}).startswith("username: Enter an ASCII address")
    assert entry_point(qa, **values) == ""


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/token", "http://localhost/token", "http://[::1]/token?a=b"])
def test_while_debug_is_on_a_token_server_on_this_machine_may_do_without_https(
    entry_point: EntryPoint, qa: Stage, settings: Settings, url: str
) -> None:
    assert entry_point(qa, **{**WITH_CLIENT_SECRET, "token_url": url}).startswith("token_url: The URL must start with https://")
    settings.DEBUG = True
    for elsewhere in ("http://127.0.0.1.example.com/token", "http://10.0.0.1/token", "ftp://127.0.0.1/token"):
        assert entry_point(qa, **{**WITH_CLIENT_SECRET, "token_url": elsewhere}).startswith("token_url: ")
    assert entry_point(qa, **{**WITH_CLIENT_SECRET, "token_url": url}) == ""


CHANGED_TOKEN_DESTINATION = [
    ("server", "smtp.evil.example"),
    ("port", "465"),
    ("security", "tls"),
    ("username", "somebody-else@acme.example"),
    ("username", ""),
    ("token_url", "https://login.evil.example/tenant/token"),
    ("token_url", "https://login.example.com/other-tenant/token"),
    ("client_id", "somebody-else"),
    ("scopes", "https://smtp.example.com/everything"),
    ("client_authentication", "client_secret_basic"),
]


@pytest.mark.parametrize(("field", "value"), CHANGED_TOKEN_DESTINATION)
def test_the_client_secret_is_asked_for_again_when_its_destination_changes(
    entry_point: EntryPoint, with_tokens: SmtpSettings, field: str, value: str
) -> None:
    error = entry_point(with_tokens.stage, **{**WITH_CLIENT_SECRET, "client_secret": "", field: value})
    assert error == f"client_secret: {SECRET_AGAIN.format(secret='client secret')}"
    assert version_of(with_tokens.stage) == 1
    assert entry_point(with_tokens.stage, **{**WITH_CLIENT_SECRET, "client_secret": "another", field: value}) == ""
    smtp_settings = SmtpSettings.objects.get()
    assert (str(getattr(smtp_settings, field)), smtp_settings.secret.reveal()) == (value, "another")


@pytest.mark.parametrize(("field", "value"), [("sender_name", "Acme Corp"), ("sender_address", "crm@acme.example")])
def test_the_client_secret_is_kept_when_left_empty(
    entry_point: EntryPoint, with_tokens: SmtpSettings, field: str, value: str
) -> None:
    assert entry_point(with_tokens.stage, **{**WITH_CLIENT_SECRET, "client_secret": "", field: value}) == ""
    smtp_settings = SmtpSettings.objects.get()
    assert (getattr(smtp_settings, field), smtp_settings.secret.reveal()) == (value, CANARY)


def test_the_client_secret_belongs_to_the_sender_where_the_sender_is_the_mailbox(entry_point: EntryPoint, qa: Stage) -> None:
    as_sender = {**WITH_CLIENT_SECRET, "username": ""}
    assert entry_point(qa, **as_sender) == ""
    error = entry_point(qa, **{**as_sender, "client_secret": "", "sender_address": "ceo@acme.example"})
    assert error == f"client_secret: {SECRET_AGAIN.format(secret='client secret')}"
    named = {**as_sender, "username": "no-reply@acme.example"}  # the same mailbox
    assert entry_point(qa, **{**named, "client_secret": "", "sender_address": "ceo@acme.example"}) == ""
    assert (SmtpSettings.objects.get().mailbox, SmtpSettings.objects.get().secret.reveal()) == ("no-reply@acme.example", CANARY)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("https://login.bücher.example/tenant/token?api=2", "https://login.xn--bcher-kva.example/tenant/token?api=2"),
        ("https://LOGIN.BÜCHER.example:8443", "https://login.xn--bcher-kva.example:8443"),
        ("https://login.xn--bcher-kva.example/token", "https://login.xn--bcher-kva.example/token"),
    ],
)
def test_a_token_server_may_have_an_international_name(entry_point: EntryPoint, qa: Stage, typed: str, stored: str) -> None:
    assert entry_point(qa, **{**WITH_CLIENT_SECRET, "token_url": typed}) == ""
    assert entry_point(qa, **{**WITH_CLIENT_SECRET, "token_url": typed, "client_secret": ""}) == ""
    assert SmtpSettings.objects.get().token_url == stored


@pytest.mark.parametrize("typed", ["", "typed-in-the-wrong-field"])
def test_a_password_is_never_taken_for_a_client_secret(entry_point: EntryPoint, configured: SmtpSettings, typed: str) -> None:
    values = {**WITH_CLIENT_SECRET, "username": "portal", "client_secret": "", "password": typed}
    assert entry_point(configured.stage, **values) == f"client_secret: {SECRET_AGAIN.format(secret='client secret')}"
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.authentication, smtp_settings.secret.reveal()) == ("basic", CANARY)


@pytest.mark.parametrize("typed", ["", "typed-in-the-wrong-field"])
def test_a_client_secret_is_never_taken_for_a_password(entry_point: EntryPoint, with_tokens: SmtpSettings, typed: str) -> None:
    values = {**WITH_PASSWORD, "username": "mailbox@acme.example", "password": "", "client_secret": typed}
    assert entry_point(with_tokens.stage, **values) == f"password: {SECRET_AGAIN.format(secret='password')}"
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.authentication, smtp_settings.secret.reveal()) == ("oauth2", CANARY)


@pytest.mark.parametrize("values", [VALUES, WITH_PASSWORD])
def test_without_oauth_nothing_of_it_is_kept(entry_point: EntryPoint, with_tokens: SmtpSettings, values: dict[str, Any]) -> None:
    left = {name: WITH_CLIENT_SECRET[name] for name in ("token_url", "client_id", "scopes")}
    assert entry_point(with_tokens.stage, **{**values, **left, "password": values["password"] and "another"}) == ""
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.token_url, smtp_settings.client_id, smtp_settings.scopes) == ("", "", "")
    assert smtp_settings.secret.reveal() == (values["password"] and "another")


def test_the_audit_trail_tells_what_changed_about_tokens_but_no_secret(
    entry_point: EntryPoint, with_tokens: SmtpSettings
) -> None:
    assert entry_point(with_tokens.stage, **{**WITH_CLIENT_SECRET, "client_secret": "another-canary", "client_id": "other"}) == ""
    event = AuditEvent.objects.get(operation="Update", entity="SMTP settings")
    assert (event.before["client_id"], event.after["client_id"]) == ("portal", "other")
    assert event.before["secret"] == event.after["secret"] == "••••••••"
    everything = str(AuditEvent.objects.values_list())
    assert CANARY not in everything
    assert "another-canary" not in everything
