from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

import emailconfig.connection.networks
from emailconfig.models import ConnectionTest, SmtpSettings
from organization.models import AuditEvent, Stage
from tests.support.emailconfig import CANARY
from tests.support.portal import configure, manage
from tests.support.smtp_server import SmtpServer

OAUTH = [
    *("--server", "smtp.example.com", "--sender-address", "qa@acme.example", "--authentication", "oauth2"),
    *("--token-url", "https://login.example.com/token", "--client-id", "portal"),
]


def run(*arguments: str, stdin: str = "") -> str:
    out = StringIO()
    with patch.object(sys, "stdin", StringIO(stdin)):
        call_command(*arguments, stdout=out)
    return out.getvalue()


def refusal(*arguments: str, stdin: str = "") -> str:
    """The one line that the command ends with."""
    with pytest.raises(CommandError) as refused:
        run(*arguments, stdin=stdin)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_set_smtp_takes_the_defaults_for_what_is_left_out(configured: SmtpSettings) -> None:
    output = run("set_smtp", "qa", "--server", "other.example.com", "--sender-address", "qa@acme.example")
    assert output == "QA sends through other.example.com:587. This applies to all apps from the next email on.\n"
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.security, smtp_settings.authentication, smtp_settings.username, smtp_settings.sender_name) == (
        "starttls",
        "none",
        "",
        "",
    )
    assert not smtp_settings.secret


def test_the_operator_is_named_in_the_audit_trail(qa: Stage) -> None:
    run("set_smtp", "qa", "--server", "smtp.example.com", "--sender-address", "qa@acme.example")
    event = AuditEvent.objects.get()
    assert event.actor is None
    assert event.actor_name.endswith("(manage.py set_smtp)")


def test_an_unknown_stage_is_named_with_those_there_are(qa: Stage, production: Stage) -> None:
    for command in (["show_smtp", "q"], ["check_smtp", "q"], ["set_smtp", "q", "--server", "x", "--sender-address", "x@y.z"]):
        with pytest.raises(CommandError, match=r"There is no stage “q”\. Known: production, qa\."):
            run(*command)


def test_show_smtp_says_that_there_is_nothing_yet(qa: Stage) -> None:
    with pytest.raises(CommandError, match="QA has no SMTP settings yet"):
        run("show_smtp", "qa")


def test_show_smtp_answers_machines_too(configured: SmtpSettings) -> None:
    shown = json.loads(run("show_smtp", "qa", "--json"))
    assert (shown["stage"], shown["server"], shown["port"], shown["username"]) == ("qa", "smtp.example.com", 587, "portal")
    assert shown["policy"] == "as-apps-ask"
    assert "Real recipients" in run("show_smtp", "qa").splitlines()[0]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"rubbish"])
def test_a_ca_file_that_is_none_is_told_in_one_line(qa: Stage, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CommandError) as refused:
        run("set_smtp", "qa", "--server", "x.example", "--sender-address", "x@y.example", "--ca-file", str(file))
    assert "\n" not in str(refused.value)
    assert not SmtpSettings.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_in_a_shell_the_password_comes_from_standard_input_and_errors_are_one_line(qa: Stage) -> None:
    basic = ["--authentication", "basic", "--username", "portal", "--password-stdin"]
    where = ["set_smtp", "qa", "--server", "smtp.example.com", "--sender-address", "qa@acme.example"]
    done = manage(*where, *basic, stdin=f"{CANARY}\r\n")
    assert done.returncode == 0, done.stderr
    assert SmtpSettings.objects.get().secret.reveal() == CANARY
    refused = manage(*where, "--port", "025")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "CommandError: port: SMTP port 25 isn't supported: it is often targeted for spam and restricted by providers. Use 587.\n"
    )
    assert CANARY not in done.stdout + done.stderr


# OAuth 2.0


def test_set_smtp_takes_what_oauth_needs_and_the_client_secret_from_standard_input(qa: Stage) -> None:
    scopes = "https://outlook.office365.com/.default offline"
    more = ["--scopes", scopes, "--client-authentication", "client_secret_basic", "--username", "mailbox@acme.example"]
    output = run("set_smtp", "qa", *OAUTH, *more, "--client-secret-stdin", stdin=f"{CANARY}\n")
    assert CANARY not in output
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.authentication, smtp_settings.token_url, smtp_settings.client_id) == (
        "oauth2",
        "https://login.example.com/token",
        "portal",
    )
    assert (smtp_settings.scopes, smtp_settings.client_authentication, smtp_settings.mailbox) == (
        scopes,
        "client_secret_basic",
        "mailbox@acme.example",
    )
    assert smtp_settings.secret.reveal() == CANARY
    for shown in (run("show_smtp", "qa"), run("show_smtp", "qa", "--json")):
        assert "login.example.com" in shown
        assert "••••••••" in shown
        assert CANARY not in shown
    assert CANARY not in str(AuditEvent.objects.values_list())


def test_oauth_has_defaults_and_keeps_the_stored_client_secret_while_it_goes_to_the_same_place(qa: Stage) -> None:
    run("set_smtp", "qa", *OAUTH, "--client-secret-stdin", stdin=f"{CANARY}\n")
    run("set_smtp", "qa", *OAUTH, "--sender-name", "Acme")
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.client_authentication, smtp_settings.mailbox, smtp_settings.sender_name) == (
        "client_secret_post",
        "qa@acme.example",
        "Acme",
    )
    assert smtp_settings.secret.reveal() == CANARY
    for option, value in (("--client-id", "other"), ("--token-url", "https://evil.example/token"), ("--username", "x@y.example")):
        assert refusal("set_smtp", "qa", *OAUTH, option, value).startswith("client_secret: Enter the client secret again")
    assert SmtpSettings.objects.get().version == smtp_settings.version


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--client-id", ""], "client_id: Enter the client ID."),
        (["--token-url", "http://login.example.com/token"], "token_url: The URL must start with https://"),
        (["--token-url", ""], "token_url: "),
        (["--port", "25"], "port: SMTP port 25 isn't supported"),
        (["--security", "none"], "security: A password is never sent unencrypted"),
    ],
)
def test_what_oauth_lacks_is_told_in_one_line(qa: Stage, options: list[str], says: str) -> None:
    assert says in refusal("set_smtp", "qa", *OAUTH, *options, "--client-secret-stdin", stdin=f"{CANARY}\n")
    assert refusal("set_smtp", "qa", *OAUTH) == "client_secret: Enter the client secret."
    assert not SmtpSettings.objects.exists()


def test_password_and_client_secret_exclude_each_other(qa: Stage) -> None:
    both = ["--password-stdin", "--client-secret-stdin"]
    assert "not allowed with argument" in refusal("set_smtp", "qa", *OAUTH, *both, stdin=f"{CANARY}\n")
    assert not SmtpSettings.objects.exists()


def test_a_password_is_no_client_secret(qa: Stage) -> None:
    assert refusal("set_smtp", "qa", *OAUTH, "--password-stdin", stdin=f"{CANARY}\n") == "client_secret: Enter the client secret."


# check_smtp


@pytest.fixture
def checked(qa: Stage, smtp_server: SmtpServer) -> SmtpSettings:
    """QA with a password that the test's server accepts."""
    smtp_server.users = {"portal": CANARY}
    return configure(qa, smtp_server, authentication="basic", username="portal", new_secret=CANARY)


def test_check_smtp_says_step_by_step_that_all_is_well_and_sends_nothing(checked: SmtpSettings, smtp_server: SmtpServer) -> None:
    output = run("check_smtp", "qa", "--to", "customer@example.com")
    steps = [line.split()[1] for line in output.splitlines() if line.startswith("ok ")]
    assert steps == ["name", "TCP", "greeting", "EHLO", "AUTH", "MAIL", "RCPT", "RSET"]
    assert output.endswith(f"{checked} accepts email from no-reply@acme.example.\n")
    assert "RCPT TO:<customer@example.com>" in output
    assert smtp_server.logins == [("portal", CANARY)]
    assert smtp_server.arrived == []
    assert CANARY not in output


def test_check_smtp_says_what_is_wrong_and_what_to_do(checked: SmtpSettings, smtp_server: SmtpServer) -> None:
    smtp_server.users = {"portal": "another"}
    smtp_server.refusal = lambda login, password: f"535 5.7.8 not with {password}"
    out = StringIO()
    with pytest.raises(CommandError) as refused:
        call_command("check_smtp", "qa", stdout=out)
    assert str(refused.value) == f"{checked} can't be used with these settings: The server doesn't accept username and password."
    assert "FAILED AUTH (" in out.getvalue()
    assert "← 535 5.7.8 not with ••••" in out.getvalue()
    assert "Enter username and password again." in out.getvalue()
    assert CANARY not in out.getvalue()


def test_check_smtp_tells_the_operator_what_a_page_does_not(
    checked: SmtpSettings, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emailconfig.connection.networks, "_REFUSAL_SECONDS", 0.0)
    settings.SMTP_ALLOWED_NETWORKS = []
    configure(checked.stage, server="localhost", new_secret=CANARY)
    out = StringIO()
    with pytest.raises(CommandError, match="may not connect to this server's address"):
        call_command("check_smtp", "qa", "--json", stdout=out)
    assert [step["code"] for step in json.loads(out.getvalue())["steps"]] == ["address_refused"]


@pytest.mark.parametrize("healthy", [True, False])
def test_check_smtp_answers_machines_in_a_shape_that_stays(
    checked: SmtpSettings, smtp_server: SmtpServer, healthy: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if not healthy:
        smtp_server.mail = lambda _: "550 5.7.60 SendAsDenied"
    out = StringIO()
    try:
        call_command("check_smtp", "qa", "--json", stdout=out)
    except CommandError:
        assert not healthy
    answer = json.loads(out.getvalue())
    assert answer.keys() == {"ok", "steps"}
    assert answer["ok"] is healthy
    for step in answer["steps"]:
        assert step.keys() == {"step", "ok", "code", "ms", "evidence", "cause", "next"}
        assert [type(step[name]) for name in ("step", "ok", "code", "ms", "evidence", "cause", "next")] == [
            *(str, bool, str, int, str, str, str)
        ]
    *passed, last = answer["steps"]
    assert all((step["ok"], step["code"], step["cause"], step["next"]) == (True, "ok", "", "") for step in passed)
    if healthy:
        assert (last["step"], last["ok"], last["code"]) == ("RSET", True, "ok")
    else:
        assert (last["step"], last["ok"], last["code"]) == ("MAIL FROM", False, "sender_not_owned")
        assert "550 5.7.60 SendAsDenied" in last["evidence"]
        assert last["cause"]
        assert last["next"]
    assert CANARY not in out.getvalue()


def test_check_smtp_is_noted_in_the_audit_trail_and_nowhere_else(checked: SmtpSettings, smtp_server: SmtpServer) -> None:
    run("check_smtp", "qa")
    smtp_server.mail = lambda _: "550 no"
    refusal("check_smtp", "qa")
    events = list(AuditEvent.objects.filter(operation="Test").order_by("pk"))
    assert [event.status for event in events] == [AuditEvent.Status.SUCCEEDED, AuditEvent.Status.FAILED]
    assert all(event.actor_name.endswith("(manage.py check_smtp)") and event.stage == checked.stage for event in events)
    assert not ConnectionTest.objects.exists()


def test_check_smtp_says_that_there_is_nothing_yet(qa: Stage) -> None:
    assert "QA has no SMTP settings yet" in refusal("check_smtp", "qa")


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "x@example.com\r\nDATA", "two@example.com, more@example.com"])
def test_check_smtp_asks_about_one_address_that_is_one(checked: SmtpSettings, smtp_server: SmtpServer, address: str) -> None:
    assert refusal("check_smtp", "qa", "--to", address).startswith("--to: ")
    assert smtp_server.connections == 0
    assert not AuditEvent.objects.filter(operation="Test").exists()


@pytest.mark.django_db(transaction=True)
def test_in_a_shell_check_smtp_ends_with_a_code_and_one_line(
    checked: SmtpSettings, smtp_server: SmtpServer, closed_port: int
) -> None:
    fine = manage("check_smtp", "qa", "--json")
    assert (fine.returncode, fine.stderr, json.loads(fine.stdout)["ok"]) == (0, "", True)
    configure(checked.stage, port=closed_port, new_secret=CANARY)
    for options in ([], ["--json"]):
        down = manage("check_smtp", "qa", *options)
        assert down.returncode == 1
        assert down.stderr.startswith("CommandError: 127.0.0.1:")
        assert down.stderr.endswith(" nothing listens on this port.\n")
        assert down.stderr.count("\n") == 1
    assert json.loads(down.stdout)["steps"][-1]["code"] == "connection_refused"
    unknown = manage("check_smtp", "q")
    assert (unknown.returncode, unknown.stdout, unknown.stderr.count("\n")) == (1, "", 1)
    assert CANARY not in fine.stdout + down.stdout + down.stderr
