"""Who may get email from a stage: what a person may change, and what that costs."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command

from common.clock import database_now
from organization.access import Operator
from organization.exceptions import StaleVersion
from organization.models import AuditEvent, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import (
    allow,
    allow_oneself,
    change_policy,
    disallow,
    policy_in_force,
)
from organization.recipient_policy.policy import AllowedPattern, PolicyState, RecipientPolicy
from organization.services import create_stage, save_in_organization

OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
OPERATOR = Operator("ops")


@pytest.fixture
def qa(db) -> Stage:
    return Stage.objects.create(key="qa", name="QA")


def put(stage: Stage, policy: RecipientPolicy, **options) -> Stage:
    return change_policy(stage, policy, OPERATOR, typed_stage_name=stage.name, **options)


def test_a_new_stage_is_closed_outside_production_and_one_from_before_stays_open(qa):
    assert policy_in_force(qa, database_now()) == OPEN
    made = [save_in_organization(Stage(key=kind.replace("_", "-"), name=kind, kind=kind), OPERATOR) for kind in Stage.Kind.values]
    assert [Stage.objects.get(pk=stage.pk).recipient_policy for stage in made] == [LISTED, LISTED, OPEN]


def test_a_new_stage_opens_only_by_a_member_who_manages_email_configurations(db):
    role = Role.objects.create(name="Organizer", permissions=[Permission.VIEW_STAGES.value, Permission.MANAGE_STAGES.value])
    ana = Member.objects.create(email="ana@acme.example", name="Ana")
    RoleGrant.objects.create(member=ana, role=role)
    assert create_stage(Stage(key="sit", name="SIT"), ana, NOBODY).recipient_policy == NOBODY
    with pytest.raises(ValidationError, match="you need the permission Manage Email Configurations"):
        create_stage(Stage(key="uat", name="UAT"), ana, OPEN)
    assert create_stage(Stage(key="uat", name="UAT"), OPERATOR, OPEN).recipient_policy == OPEN


def test_another_type_of_stage_changes_no_policy(qa):
    put(qa, NOBODY)
    stage = Stage.objects.get(pk=qa.pk)
    stage.kind = Stage.Kind.PRODUCTION
    save_in_organization(stage, OPERATOR)
    assert Stage.objects.get(pk=qa.pk).recipient_policy == NOBODY


def test_narrowing_needs_no_name_and_widening_does(qa):
    change_policy(qa, NOBODY, OPERATOR)
    with pytest.raises(ValidationError) as refused:
        change_policy(qa, LISTED, OPERATOR, typed_stage_name="qa")
    assert "stage_name" in refused.value.message_dict
    change_policy(qa, LISTED, OPERATOR, typed_stage_name="QA")
    qa.refresh_from_db()
    assert qa.recipient_policy == LISTED
    assert AuditEvent.objects.filter(operation="Change recipient policy").count() == 2


def test_a_wider_policy_ends_by_the_clock_and_leads_back(qa):
    put(qa, NOBODY)
    now = database_now()
    stage = put(qa, OPEN, until=now + timedelta(hours=1))
    assert policy_in_force(stage, now) == OPEN
    assert policy_in_force(stage, now + timedelta(hours=1)) == NOBODY


def test_a_second_wider_policy_leads_back_to_what_was_before_both(qa):
    put(qa, NOBODY)
    now = database_now()
    put(qa, LISTED, until=now + timedelta(hours=1))
    stage = put(qa, OPEN, until=now + timedelta(hours=2))
    assert policy_in_force(stage, now + timedelta(hours=2)) == NOBODY


def test_an_earlier_end_needs_no_name_and_a_later_one_or_none_does(qa):
    put(qa, NOBODY)
    now = database_now()
    put(qa, LISTED, until=now + timedelta(hours=2))
    change_policy(qa, LISTED, OPERATOR, until=now + timedelta(hours=1))
    for until in (now + timedelta(hours=3), None):
        with pytest.raises(ValidationError) as refused:
            change_policy(qa, LISTED, OPERATOR, until=until)
        assert "stage_name" in refused.value.message_dict


def test_a_narrower_policy_keeps_the_end_that_leads_back_to_a_narrower_one(qa):
    """The stage captured everything before; without the end it would never do so again."""
    put(qa, NOBODY)
    end = database_now() + timedelta(hours=2)
    put(qa, OPEN, until=end)
    stage = change_policy(qa, LISTED, OPERATOR)
    assert (policy_in_force(stage, end - timedelta(seconds=1)), policy_in_force(stage, end)) == (LISTED, NOBODY)


def test_a_narrower_policy_may_have_an_earlier_end_and_needs_the_name_for_a_later_one(qa):
    put(qa, NOBODY)
    now = database_now()
    put(qa, OPEN, until=now + timedelta(hours=2))
    with pytest.raises(ValidationError) as refused:
        change_policy(qa, LISTED, OPERATOR, until=now + timedelta(hours=3))
    assert "stage_name" in refused.value.message_dict
    stage = change_policy(qa, LISTED, OPERATOR, until=now + timedelta(hours=1))
    assert policy_in_force(stage, now + timedelta(hours=1)) == NOBODY


@pytest.mark.parametrize("hours", [-1, 0, 24 * 367])
def test_an_end_is_in_the_future_and_within_a_year(qa, hours):
    put(qa, NOBODY)
    with pytest.raises(ValidationError) as refused:
        put(qa, OPEN, until=database_now() + timedelta(hours=hours))
    assert "until" in refused.value.message_dict


def test_a_narrower_policy_has_no_end(qa):
    with pytest.raises(ValidationError) as refused:
        put(qa, NOBODY, until=database_now() + timedelta(hours=1))
    assert "until" in refused.value.message_dict


def test_of_two_who_change_it_at_once_the_safer_wins(qa):
    put(qa, LISTED)
    expected_version = Stage.objects.get(pk=qa.pk).policy_version
    change_policy(qa, NOBODY, OPERATOR, expected_version=expected_version)
    with pytest.raises(StaleVersion):
        put(qa, OPEN, expected_version=expected_version)
    with pytest.raises(StaleVersion):
        allow(qa, ["ana@acme.example"], OPERATOR, typed_stage_name="QA", expected_version=expected_version)
    change_policy(qa, NOBODY, OPERATOR, expected_version=expected_version)  # the other way round nothing stops it


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("gmail.com", "Everybody"),
        ("Outlook.com", "Everybody"),
        ("*.acme.example", "wildcard"),
        ("*@acme.example", "wildcard"),
        ("acme", "whole domain"),
        ("ana@", "isn't"),
        ("two words", "neither"),
    ],
)
def test_what_cant_be_allowed_is_said_at_its_entry(qa, entry, word):
    with pytest.raises(ValidationError) as refused:
        allow(qa, ["ben@acme.example", entry], OPERATOR, typed_stage_name="QA")
    (message,) = refused.value.message_dict["patterns"]
    assert word in message
    assert not qa.allowed_addresses.exists()


def test_ten_thousand_lines_are_refused_in_one_sentence(qa):
    with pytest.raises(ValidationError) as refused:
        allow(qa, [f"a{number}@acme.example" for number in range(10_000)], OPERATOR, typed_stage_name="QA")
    (message,) = refused.value.message_dict["patterns"]
    assert "10,000" in message


def test_addresses_and_domains_are_allowed_and_taken_back(qa):
    allow(qa, ["Ana@ACME.example", "@Beta.example"], OPERATOR, typed_stage_name="QA")
    assert [str(entry) for entry in qa.allowed_addresses.all()] == ["Ana@acme.example", "beta.example"]
    disallow(qa, "beta.example", OPERATOR)
    assert [str(entry) for entry in qa.allowed_addresses.all()] == ["Ana@acme.example"]
    with pytest.raises(ValidationError):
        disallow(qa, "beta.example", OPERATOR)


def test_a_member_allows_their_own_address_without_the_name(qa):
    ana = Member.objects.create(email="ana@acme.example", name="Ana", is_superuser=True)
    allow_oneself(qa, ana)
    assert qa.allowed_addresses.get().pattern == "ana@acme.example"


def test_without_the_permission_nothing_changes(qa):
    ben = Member.objects.create(email="ben@acme.example", name="Ben")
    for act in (
        lambda: change_policy(qa, NOBODY, ben),
        lambda: allow(qa, ["ben@acme.example"], ben, typed_stage_name="QA"),
        lambda: disallow(qa, "ben@acme.example", ben),
    ):
        with pytest.raises(PermissionDenied):
            act()


STATE = PolicyState(
    OPEN, (AllowedPattern("ana@acme.example"), AllowedPattern("beta.example", 3)), version=5, listed_since=2, open_since=4
)


@pytest.mark.parametrize(("accepted", "policy"), [(5, OPEN), (4, OPEN), (3, LISTED), (2, LISTED), (1, NOBODY), (0, NOBODY)])
def test_an_email_is_under_the_narrowest_policy_since_it_was_accepted(accepted, policy):
    assert STATE.since(accepted).policy == policy


def test_an_address_that_was_allowed_later_doesnt_count_for_an_email_from_before():
    assert STATE.since(3).allows("bo@Beta.example")
    assert not STATE.since(2).allows("bo@beta.example")
    assert STATE.since(0).allows("ana@acme.example")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("ana@acme.example", True),
        ("ana@ACME.example", True),
        ("Ana@acme.example", False),  # the server decides whether that is the same person
        ("bo@beta.example", True),
        ("bo@sub.beta.example", False),
        ("bo@notbeta.example", False),
        ("beta.example@x.example", False),
    ],
)
def test_which_addresses_are_allowed(address, allowed):
    assert STATE.allows(address) is allowed


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("stage_policy", "qa", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_asks_for_no_name_and_shows_what_holds_now(qa):
    command("--policy", "nobody")
    shown = json.loads(command("--policy", "listed-only", "--until", "2027-01-01T00:00Z", "--json"))
    assert (shown["policy"], shown["until"], shown["afterwards"]) == ("listed-only", "2027-01-01T00:00:00+00:00", "nobody")
    assert "acme.example" in command("--allow", "acme.example", "ana@beta.example")
    shown = json.loads(command("--disallow", "acme.example", "--json"))
    assert [entry["pattern"] for entry in shown["allowed"]] == ["ana@beta.example"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--allow", "gmail.com"],
        ["--disallow", "acme.example"],
        ["--until", "2027-01-01T00:00Z"],
        ["--policy", "nobody", "--until", "2027-01-01T00:00Z"],
        ["--policy", "nobody", "--until", "tomorrow"],
        ["--policy", "nobody", "--allow", "gmail.com"],
    ],
)
def test_the_command_refuses_in_one_line_and_changes_nothing(qa, arguments):
    with pytest.raises(CommandError) as refused:
        command(*arguments)
    assert "\n" not in str(refused.value)
    assert Stage.objects.get(pk=qa.pk).policy_version == 0
