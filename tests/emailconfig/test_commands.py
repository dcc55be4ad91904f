from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from emailconfig.models import SmtpSettings
from organization.models import AuditEvent, Stage
from tests.conftest import manage
from tests.emailconfig.conftest import CANARY


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_set_smtp_takes_the_defaults_for_what_is_left_out(configured: SmtpSettings) -> None:
    said = run("set_smtp", "qa", "--server", "other.example.com", "--sender-address", "qa@acme.example")
    assert said == "QA sends through other.example.com:587. It applies to all apps from the next mail on.\n"
    found = SmtpSettings.objects.get()
    assert (found.security, found.authentication, found.username, found.sender_name) == ("starttls", "none", "", "")
    assert not found.password


def test_the_operator_is_named_in_the_audit_trail(qa: Stage) -> None:
    run("set_smtp", "qa", "--server", "smtp.example.com", "--sender-address", "qa@acme.example")
    event = AuditEvent.objects.get()
    assert event.actor is None
    assert event.actor_name.endswith("(manage.py set_smtp)")


def test_an_unknown_stage_is_named_with_those_there_are(qa: Stage, production: Stage) -> None:
    for command in (["show_smtp", "q"], ["set_smtp", "q", "--server", "x", "--sender-address", "x@y.z"]):
        with pytest.raises(CommandError, match=r"There is no stage “q”\. Known: production, qa\."):
            run(*command)


def test_show_smtp_says_that_there_is_nothing_yet(qa: Stage) -> None:
    with pytest.raises(CommandError, match="QA has no SMTP settings yet"):
        run("show_smtp", "qa")


def test_show_smtp_answers_machines_too(configured: SmtpSettings) -> None:
    shown = json.loads(run("show_smtp", "qa", "--json"))
    assert (shown["stage"], shown["server"], shown["port"], shown["username"]) == ("qa", "smtp.example.com", 587, "portal")


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
    assert SmtpSettings.objects.get().password.reveal() == CANARY
    refused = manage(*where, "--port", "025")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        "CommandError: port: SMTP port 25 isn't supported: it is often targeted for spam and restricted by providers. Use 587.\n"
    )
    assert CANARY not in done.stdout + done.stderr
