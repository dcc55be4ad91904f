"""send_email, explain_route, deliver: what they print, and the one line when something is wrong."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message, Source
from tests.support.outbox import set_list
from tests.support.portal import OPERATOR, configure

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_send_email_submits_like_every_other_door(crm, qa, tmp_path):
    configure(qa)
    file = tmp_path / "datei.txt"
    file.write_text("Inhalt")
    arguments = ["--to", "Ana <a@example.com>", "b@example.com", "--cc", "c@example.com", "--bcc", "d@example.com"]
    printed = run("send_email", "crm", "qa", *arguments, "--subject", "Größe", "--body", "Text", "--attach", str(file), "--json")
    facts = json.loads(printed)
    message = Message.objects.get(pk=facts["id"])
    assert facts["recipients"] == ["a@example.com", "b@example.com", "c@example.com", "d@example.com"]
    assert (facts["status"], facts["route"], message.via) == ("queued", "recipients", Source.COMMAND)
    assert message.from_address == "no-reply@acme.example"
    content = bytes(message.content.data)
    assert b"datei.txt" in content
    assert b"d@example.com" not in content


def test_send_email_says_where_it_went_and_why_it_waits(crm, qa):
    set_list(crm, qa, "ana@acme.example")
    printed = run("send_email", "crm", "qa", "--from", "x@acme.example", "--to", "a@example.com", "--subject", "x")
    assert "is held: The stage has no SMTP settings" in printed
    assert "Test list, to ana@acme.example" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope", "qa", "--to", "a@example.com"], "There is no app “nope”. Known: crm."),
        (["crm", "nope", "--to", "a@example.com"], "There is no stage “nope”"),
        (["crm", "qa", "--to", "nobody"], "isn't an email address"),
        (["crm", "qa", "--to", "a@example.com, b@example.com"], "isn't an email address"),
        (["crm", "qa", "--to", "x" * 65 + "@example.com"], "at most 64 bytes"),
        (["crm", "qa", "--to", "a@example.com", "--attach", "/no/such/file"], "can't be read"),
        (["crm", "qa", "--to", "a@example.com", "--subject", "a\nBcc: victim@example.com"], "newline"),
    ],
)
def test_send_email_refuses_with_one_clear_line(crm, qa, arguments, says):
    configure(qa)
    with pytest.raises(CommandError) as refused:
        run("send_email", *arguments, *([] if "--subject" in arguments else ["--subject", "x"]))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not Message.objects.exists()


def test_send_email_needs_a_sender_where_the_stage_has_none(crm, qa):
    with pytest.raises(CommandError, match="--from"):
        run("send_email", "crm", "qa", "--to", "a@example.com", "--subject", "x")


def test_send_email_says_whom_it_cant_reach(crm, qa):
    configure(qa)
    arguments = ["send_email", "crm", "qa", "--subject", "x", "--to", "Ana <a@example.com>", "x" * 65 + "@example.com"]
    assert "x@example.com. “xxx" in run(*arguments)
    facts = json.loads(run(*arguments, "--json"))
    assert (facts["recipients"], list(facts["refused"])) == (["a@example.com"], ["x" * 65 + "@example.com"])


def test_explain_route_says_who_gets_it_and_stores_nothing(crm, qa):
    set_list(crm, qa, "ana@acme.example")
    printed = json.loads(run("explain_route", "crm", "qa", "--to", "a@example.com", "--bcc", "b@example.com", "--json"))
    assert printed["route"] == "test_list"
    assert [(decision["requested"], decision["delivered_to"]) for decision in printed["decisions"]] == [
        ("a@example.com", ["ana@acme.example"]),
        ("b@example.com", ["ana@acme.example"]),
    ]
    assert "Active" in run("explain_route", "crm", "qa", "--to", "a@example.com")
    assert not Message.objects.exists()


def test_explain_route_names_the_policy_and_what_is_captured(crm, qa):
    change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)
    lines = run("explain_route", "crm", "qa", "--to", "a@example.com").splitlines()
    assert lines[:2] == ["QA: Captured", "a@example.com -> captured"]
