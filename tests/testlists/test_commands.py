from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from common.addresses import NamedAddress
from common.clock import database_now
from organization.models import App, AuditEvent, Member, Stage
from testlists.services import EMPTY_CANT_BE_ACTIVE, ListChange, save_test_list, test_list_of
from tests.support.portal import OPERATOR, manage
from tests.support.testlists import keep_list, on_list, time_goes_by


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("test_list", "crm", "qa", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_shows_a_list(crm: App, qa: Stage, viewer: Member) -> None:
    keep_list(crm, qa, "ana@example.com", members=(viewer,), active=True)
    assert run().splitlines() == [
        "Test list of Customer Relations in QA: Active, 2 address(es)",
        "QA: Real recipients",
        "  Vera Viewer <vera.viewer@acme.example>",
        "  ana@example.com",
    ]
    assert json.loads(run("--json")) == {
        "policy": "as-apps-ask",
        "active": True,
        "active_until": None,
        "missing": False,
        "addresses": [
            {"name": "Vera Viewer", "email": "vera.viewer@acme.example"},
            {"name": "", "email": "ana@example.com"},
        ],
    }


def test_the_command_adds_removes_and_switches_and_keeps_the_rest(crm: App, qa: Stage, viewer: Member) -> None:
    save_test_list(crm, qa, ListChange(False, True, [viewer], [NamedAddress("ana@example.com", "Ana")]), OPERATOR)
    run("--add", "Bob <bob@example.com>", "--add", "carl@example.com", "--remove", "vera.viewer@ACME.example", "--activate")
    test_list = test_list_of(crm, qa)
    assert test_list.active
    assert test_list.tag_subject
    assert [str(person) for person in test_list.people()] == [
        "Ana <ana@example.com>",
        "Bob <bob@example.com>",
        "carl@example.com",
    ]
    run("--deactivate")
    assert not test_list_of(crm, qa).active
    assert AuditEvent.objects.latest("pk").actor_name.endswith("(manage.py test_list)")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--activate"], EMPTY_CANT_BE_ACTIVE),
        (["--add", "rubbish"], "“rubbish” isn't an email address"),
        (["--add", "a@x.com, b@x.com"], "isn't an email address"),
        (["--add", "a@x.com, <b@x.com>"], "is more than one entry"),
        (["--add", "a@x.com", "--add", "a@X.com"], "more than once"),
        (["--remove", "nobody@example.com"], "nobody@example.com isn't on the list"),
        (["--remove", "rubbish"], "isn't an email address"),
        (["--activate", "--deactivate"], "not allowed with argument"),
    ],
)
def test_what_the_command_refuses_is_one_line_and_changes_nothing(
    crm: App, qa: Stage, arguments: list[str], sentence: str
) -> None:
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert test_list_of(crm, qa).version == 0


def test_an_active_list_is_not_emptied_by_the_command(crm: App, qa: Stage) -> None:
    keep_list(crm, qa, "ana@example.com", active=True)
    with pytest.raises(CommandError, match="An empty test list can't be Active"):
        run("--remove", "ana@example.com")
    assert on_list(crm, qa) == ["ana@example.com"]


def test_unknown_apps_and_stages_are_told_with_the_known_ones(crm: App, qa: Stage) -> None:
    for arguments in (("nothing", "qa"), ("crm", "nowhere")):
        with pytest.raises(CommandError, match=r"Known: (crm|qa)"):
            call_command("test_list", *arguments)


@pytest.mark.django_db(transaction=True)
def test_in_a_shell_even_bytes_that_are_no_text_are_refused_in_one_line(crm: App, qa: Stage) -> None:
    done = manage("test_list", "crm", "qa", "--add", "\udcff@example.com")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: ")
    assert done.stderr.count("\n") == 1


def test_the_command_gives_a_list_an_end_and_keeps_it(crm: App, qa: Stage) -> None:
    until = (database_now() + timedelta(days=1)).replace(microsecond=0).isoformat()
    assert f"Active until {until}" in run("--add", "ana@example.com", "--activate", "--until", until)
    assert f"Active until {until}" in run("--add", "bob@example.com")
    assert json.loads(run("--json"))["active_until"] == until
    time_goes_by(crm, qa)
    assert "Expired at" in run()
    assert json.loads(run("--json"))["active"] is False
    assert "QA: Active, 2" in run("--no-end")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--until", "2001-01-01T00:00Z", "--activate"], "time is in the past"),
        (["--until", "2999-01-01T00:00Z", "--activate"], "within a year"),
        (["--until", "tomorrow", "--activate"], "invalid"),
        (["--until", "2999-01-01T00:00Z"], "--activate"),
    ],
)
def test_the_command_refuses_an_end_in_words(crm: App, qa: Stage, arguments: list[str], says: str) -> None:
    keep_list(crm, qa, "ana@example.com")
    with pytest.raises(CommandError, match=says):
        run(*arguments)
    assert not test_list_of(crm, qa).active
