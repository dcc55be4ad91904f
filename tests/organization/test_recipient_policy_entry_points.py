"""Who gets email from a stage is changed on pages, in Django admin and at the command line: all say and do the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from common.clock import database_now
from organization.models import AuditEvent, Role, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import allow, change_policy
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import NEEDS_PERMISSION, STAYS_OPEN
from tests.support.portal import OPERATOR, make_member, signed_in

pytestmark = [pytest.mark.same_on_both, pytest.mark.slow]

OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
WRONG_NAME = "This isn't the stage's name. Type “QA”."
PAGE, ADMIN = "/management/configure/emails/qa/recipients/", "/admin/organization/"
# Each returns what was said against the change, and nothing when it was made.
EntryPoint = Callable[..., str]


def when(until: datetime | None) -> str:
    return f"{until:%Y-%m-%dT%H:%M}" if until else ""


def refusals(form: Any) -> str:
    return " ".join(text for errors in form.errors.values() for text in errors)


def posted_to_page(client: Client, act: str, form: str, data: dict[str, Any]) -> str:
    prefix, version = form.partition("_")[0], Stage.objects.get(key="qa").policy_version
    answer = client.post(PAGE + act, {f"{prefix}-{name}": value for name, value in {"version": version, **data}.items()})
    if answer.status_code == 403:
        return "403"
    assert answer.status_code == (422 if answer.context else 302)
    return refusals(answer.context[form]) if answer.context else ""


def posted_to_admin(client: Client, path: str, data: dict[str, Any]) -> str:
    answer = client.post(ADMIN + path, data, follow=True)
    if answer.status_code == 403:
        return "403"
    if "adminform" in answer.context and answer.context["adminform"].form.errors:
        return refusals(answer.context["adminform"].form)
    return " ".join(str(message) for message in answer.context["messages"] if message.level_tag == "error")


def commanded(*arguments: str) -> str:
    try:
        call_command("stage_policy", "qa", *arguments, stdout=io.StringIO())
    except CommandError as error:
        return str(error).partition(": ")[2]  # after the field
    return ""


def policy_by_page(client: Client, policy: RecipientPolicy, until: datetime | None, name: str) -> str:
    return posted_to_page(client, "change/", "policy_form", {"policy": policy, "until": when(until), "stage_name": name})


def policy_by_admin(client: Client, policy: RecipientPolicy, until: datetime | None, name: str) -> str:
    stage = Stage.objects.get(key="qa")
    data = {"name": stage.name, "order": stage.order, "kind": stage.kind, "version": stage.version}
    data |= {"policy": policy, "policy_ends": when(until), "confirmation": name}
    return posted_to_admin(client, f"stage/{stage.pk}/change/", data)


def policy_by_command(client: Client, policy: RecipientPolicy, until: datetime | None, name: str) -> str:
    return commanded("--policy", policy, *(["--until", when(until)] if until else []))


POLICY = {"page": policy_by_page, "admin": policy_by_admin, "command": policy_by_command}


def allowed_by_page(client: Client, pattern: str, until: datetime | None, name: str) -> str:
    return posted_to_page(client, "allow/", "allow_form", {"patterns": pattern, "until": when(until), "stage_name": name})


def allowed_by_admin(client: Client, pattern: str, until: datetime | None, name: str) -> str:
    data = {"stage": Stage.objects.get(key="qa").pk, "pattern": pattern, "stage_name": name}
    data |= {"until_0": f"{until:%Y-%m-%d}", "until_1": f"{until:%H:%M}"} if until else {}
    return posted_to_admin(client, "allowedaddress/add/", data)


def allowed_by_command(client: Client, pattern: str, until: datetime | None, name: str) -> str:
    return commanded("--allow", pattern, *(["--until", when(until)] if until else []))


ALLOWED = {"page": allowed_by_page, "admin": allowed_by_admin, "command": allowed_by_command}


@pytest.fixture(params=POLICY)
def change(request: pytest.FixtureRequest) -> EntryPoint:
    return POLICY[request.param]


@pytest.fixture(params=ALLOWED)
def add(request: pytest.FixtureRequest) -> EntryPoint:
    return ALLOWED[request.param]


@pytest.fixture
def stage(qa: Stage) -> Stage:
    """Its policy is in the middle."""
    return change_policy(qa, LISTED, OPERATOR)


@pytest.fixture
def organizer(db: None) -> Client:
    """Manages the organization, and no email configuration."""
    role = Role.objects.create(name="Organizer", permissions=[Permission.VIEW_STAGES.value, Permission.MANAGE_STAGES.value])
    return signed_in(make_member("Olga", role, is_staff=True))


def stored() -> tuple[str, int]:
    return Stage.objects.values_list("recipient_policy", "policy_version").get(key="qa")


@pytest.mark.parametrize(
    ("policy", "hours", "says"),
    [
        (OPEN, -1, "This time is in the past. Choose one in the future, or leave it empty."),
        (OPEN, 24 * 367, "Choose a time within a year."),
        (NOBODY, 1, "Only a wider policy has an end. This one stays until you change it."),
        (LISTED, 1, "Only a wider policy has an end. This one stays until you change it."),
    ],
)
def test_a_wrong_end_is_refused_in_the_same_words(as_administrator, stage, change, policy, hours, says):
    before = stored()
    assert change(as_administrator, policy, database_now() + timedelta(hours=hours), "QA") == says
    assert stored() == before


def test_a_change_is_made_at_once_and_audited(as_administrator, stage, change):
    end = (database_now() + timedelta(hours=2)).replace(second=0, microsecond=0)
    assert change(as_administrator, OPEN, end, "QA") == ""
    saved = Stage.objects.get(key="qa")
    assert (saved.recipient_policy, saved.policy_until, saved.policy_afterwards) == (OPEN, end, LISTED)
    event = AuditEvent.objects.filter(operation="Change recipient policy").latest("pk")
    assert (event.stage, event.before["recipient_policy"], event.after["recipient_policy"]) == (saved, LISTED, OPEN)


def test_a_narrower_policy_asks_for_no_name(as_administrator, stage, change):
    assert change(as_administrator, NOBODY, None, "") == ""
    assert stored()[0] == NOBODY


@pytest.mark.parametrize("change", [policy_by_page, policy_by_admin])
@pytest.mark.parametrize("name", ["", "qa"])
def test_a_wider_policy_asks_for_the_name(as_administrator, stage, change, name):
    """But not the command, to which the operator has typed the stage's key."""
    before = stored()
    assert change(as_administrator, OPEN, None, name) == WRONG_NAME
    assert stored() == before


@pytest.mark.parametrize("change", [policy_by_page, policy_by_admin])
@pytest.mark.parametrize("policy", [OPEN, NOBODY])
def test_without_the_permission_no_policy_is_changed(organizer, stage, change, policy):
    before = stored()
    assert change(organizer, policy, None, "QA") == "403"
    assert stored() == before


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("gmail.com", "Everybody can have an address of gmail.com, so it can't be allowed. Allow single addresses of it."),
        ("*.acme.example", "“*.acme.example”: name each address or domain. A wildcard can't be allowed."),
        ("acme", "“acme” isn't a whole domain, such as acme.example."),
    ],
)
def test_what_cant_be_allowed_is_refused_in_the_same_words(as_administrator, stage, add, pattern, says):
    assert add(as_administrator, pattern, None, "QA") == says
    assert not stage.allowed_addresses.exists()


def test_an_allowed_address_has_no_end_in_the_past(as_administrator, stage, add):
    says = "This time is in the past. Choose one in the future, or leave it empty."
    assert add(as_administrator, "acme.example", database_now() - timedelta(hours=1), "QA") == says
    assert not stage.allowed_addresses.exists()


def test_an_address_is_allowed_in_its_normal_form_and_audited(as_administrator, stage, add):
    assert add(as_administrator, " Ana@ACME.example ", None, "QA") == ""
    assert stage.allowed_addresses.get().pattern == "Ana@acme.example"
    assert AuditEvent.objects.filter(operation="Create", entity_name="Ana@acme.example", stage=stage).count() == 1


@pytest.mark.parametrize("add", [allowed_by_page, allowed_by_admin])
def test_an_allowed_address_asks_for_the_name_and_the_permission(as_administrator, organizer, stage, add):
    assert add(as_administrator, "ana@acme.example", None, "qa") == WRONG_NAME
    assert add(organizer, "ana@acme.example", None, "QA") == "403"
    assert not stage.allowed_addresses.exists()


def test_an_address_is_removed_in_admin_as_on_the_page(as_administrator, organizer, stage):
    for path in (PAGE + "{}/disallow/", ADMIN + "allowedaddress/{}/delete/"):
        (entry,) = allow(stage, ["ana@acme.example"], OPERATOR, typed_stage_name="QA")
        assert organizer.post(path.format(entry.pk), {"post": "yes"}).status_code == 403
        assert as_administrator.post(path.format(entry.pk), {"post": "yes"}).status_code == 302
        assert not stage.allowed_addresses.exists()


NEW = {"name": "SIT", "key": "sit", "order": "7"}
STAGES = "/management/configure/stages/"
CREATE = [STAGES + "new/", ADMIN + "stage/add/"]


@pytest.mark.parametrize("path", CREATE)
@pytest.mark.parametrize(
    ("kind", "policy", "starts_with"),
    [
        ("non_production", "", LISTED),
        ("development", "", LISTED),
        ("production", "", OPEN),
        ("non_production", "as-apps-ask", OPEN),
        ("production", "nobody", NOBODY),
    ],
)
def test_a_new_stage_starts_with_what_suits_its_type_or_what_was_chosen(as_administrator, path, kind, policy, starts_with):
    assert as_administrator.post(path, {**NEW, "kind": kind, "policy": policy}).status_code == 302
    assert Stage.objects.get(key="sit").recipient_policy == starts_with
    assert AuditEvent.objects.get(operation="Create", entity_name="SIT").after["recipient_policy"] == starts_with


def saved_by_page(client: Client, path: str, data: dict[str, Any]) -> str:
    answer = client.post(STAGES + path, data)
    assert answer.status_code == (422 if answer.context else 302)
    return refusals(answer.context["form"]) if answer.context else ""


def created_by_page(client: Client, **data: Any) -> str:
    return saved_by_page(client, "new/", {**NEW, **data})


def created_by_admin(client: Client, **data: Any) -> str:
    return posted_to_admin(client, "stage/add/", {**NEW, **data})


@pytest.mark.parametrize("create", [created_by_page, created_by_admin])
def test_a_new_stage_is_opened_only_with_the_permission(organizer, create):
    assert create(organizer, kind="non_production", policy="as-apps-ask") == NEEDS_PERMISSION
    assert "everybody" in create(organizer, kind="non_production", policy="everybody")
    assert not Stage.objects.exists()
    assert create(organizer, kind="non_production", policy="nobody") == ""


def kind_by_page(client: Client, stage: Stage, kind: str) -> str:
    return saved_by_page(client, f"{stage.key}/edit/", {"name": stage.name, "kind": kind, "version": stage.version})


def kind_by_admin(client: Client, stage: Stage, kind: str) -> str:
    data = {"name": stage.name, "order": stage.order, "kind": kind, "version": stage.version, "policy": ""}
    return posted_to_admin(client, f"stage/{stage.pk}/change/", data)


@pytest.mark.parametrize("change_kind", [kind_by_page, kind_by_admin])
@pytest.mark.parametrize(
    ("kind", "policy", "new_kind", "refused"),
    [
        ("production", OPEN, "non_production", True),
        ("production", OPEN, "development", True),
        ("production", LISTED, "non_production", False),
        ("production", NOBODY, "development", False),
        ("non_production", OPEN, "development", False),  # it was opened with the permission
        ("non_production", OPEN, "production", False),
    ],
)
def test_no_new_type_makes_a_stage_that_isnt_production_open(
    organizer, as_administrator, qa, change_kind, kind, policy, new_kind, refused
):
    Stage.objects.update(kind=kind, recipient_policy=policy)
    qa.refresh_from_db()
    assert change_kind(organizer, qa, new_kind) == (STAYS_OPEN.format("QA") if refused else "")
    if refused:
        assert Stage.objects.get().kind == kind
        assert change_kind(as_administrator, qa, new_kind) == ""
    assert Stage.objects.values_list("kind", "recipient_policy").get() == (new_kind, policy)


def test_a_policy_whose_end_has_passed_doesnt_count_as_open(organizer, qa):
    over = database_now() - timedelta(seconds=1)
    Stage.objects.update(kind="production", recipient_policy=OPEN, policy_afterwards=LISTED, policy_until=over)
    assert kind_by_page(organizer, qa, "non_production") == ""


@pytest.mark.parametrize(("policy", "path"), [("as-apps-ask", "stage/add/"), ("", "stage/{}/change/")])
def test_an_end_that_belongs_to_no_change_is_refused(as_administrator, qa, policy, path):
    """Not left out: the stage would stay open for good."""
    data = {"name": "SIT", "key": "sit", "order": "7", "kind": "non_production", "version": qa.version}
    data |= {"policy": policy, "policy_ends": "2027-01-01T00:00"}
    text = posted_to_admin(as_administrator, path.format(qa.pk), data)
    assert text == "An end belongs to a wider policy of a stage that exists. Choose that policy, too."
    assert list(Stage.objects.values_list("name", flat=True)) == ["QA"]
