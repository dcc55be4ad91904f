"""The page of who gets email from a stage: who may use it, and what it answers to what can't be saved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from organization.models import AllowedAddress, Stage
from organization.recipient_policy.changes import allow, change_policy
from organization.recipient_policy.policy import RecipientPolicy
from tests.support.portal import OPERATOR

PAGE = "/management/configure/emails/qa/recipients/"
IN_A_YEAR = timedelta(days=370)
HOUR = timedelta(hours=1)


@pytest.fixture
def closed(qa: Stage) -> Stage:
    return change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)


def typed_time(ahead: timedelta) -> str:
    return (timezone.now() + ahead).strftime("%Y-%m-%dT%H:%M")


def change(client: Client, stage: Stage, policy: str = "listed-only", **values: Any) -> Any:
    """What a browser sends for a wider policy; then `values`."""
    typed = {"version": stage.policy_version, "policy": policy, "until": "", "stage_name": "QA", **values}
    return client.post(f"{PAGE}change/", {f"policy-{name}": value for name, value in typed.items()})


def add(client: Client, stage: Stage, patterns: str = "acme.example", **values: Any) -> Any:
    typed = {"version": stage.policy_version, "patterns": patterns, "until": "", "stage_name": "QA", **values}
    return client.post(f"{PAGE}allow/", {f"allow-{name}": value for name, value in typed.items()})


def allow_one(stage: Stage, pattern: str) -> AllowedAddress:
    (entry,) = allow(stage, [pattern], OPERATOR, typed_stage_name=stage.name)
    return entry


def test_every_member_reads_it_and_only_email_administrators_change_it(as_viewer: Client, as_developer: Client, closed: Stage):
    entry = allow_one(closed, "acme.example")
    for client in (as_viewer, as_developer):
        assert "<form method" not in client.get(PAGE).content.decode().partition("Recipient policy")[2].partition("</main>")[0]
        assert change(client, closed).status_code == 403
        assert add(client, closed).status_code == 403
        assert client.post(f"{PAGE}allow-me/").status_code == 403
        assert client.post(f"{PAGE}{entry.pk}/disallow/").status_code == 403
    assert Client().get(PAGE).status_code == 302
    assert [str(row) for row in closed.allowed_addresses.all()] == ["acme.example"]
    assert Stage.objects.get(pk=closed.pk).recipient_policy == RecipientPolicy.NOBODY


def test_whose_address_is_allowed_is_masked_without_access_to_user_information(
    as_viewer: Client, as_administrator: Client, closed: Stage
):
    allow(closed, ["ana.silva@acme.example", "beta.example"], OPERATOR, typed_stage_name="QA")
    seen = as_viewer.get(PAGE).content.decode()
    assert "ana.silva" not in seen
    assert "beta.example" in seen
    assert "ana.silva@acme.example" in as_administrator.get(PAGE).content.decode()


@pytest.mark.parametrize("path", ["change/", "allow/", "allow-me/", "1/disallow/"])
def test_a_change_is_posted(as_administrator: Client, qa: Stage, path: str):
    assert as_administrator.get(f"{PAGE}{path}").status_code == 405
    assert as_administrator.post(PAGE).status_code == 405


def test_an_unknown_stage_or_address_is_not_found(as_administrator: Client, qa: Stage, production: Stage):
    entry = allow_one(production, "acme.example")
    assert as_administrator.get(PAGE.replace("qa", "none")).status_code == 404
    for path in ("change/", "allow/", "allow-me/", f"{entry.pk}/disallow/"):
        assert as_administrator.post(PAGE.replace("qa", "none") + path).status_code == 404
    assert as_administrator.post(f"{PAGE}{entry.pk}/disallow/").status_code == 404
    assert production.allowed_addresses.exists()


def test_a_wider_policy_needs_the_name_and_a_narrower_one_doesnt(as_administrator: Client, closed: Stage):
    assert change(as_administrator, closed, until=typed_time(HOUR)).status_code == 302
    stored = Stage.objects.get(pk=closed.pk)
    assert (stored.recipient_policy, stored.policy_afterwards) == ("listed-only", "nobody")
    assert "then Captured" in as_administrator.get(PAGE).content.decode()
    assert change(as_administrator, stored, "nobody", stage_name="").status_code == 302
    assert Stage.objects.get(pk=closed.pk).recipient_policy == RecipientPolicy.NOBODY


@pytest.mark.parametrize(
    ("field", "values", "says"),
    [
        ("policy", {"policy": ""}, "required"),
        ("policy", {"policy": "everybody"}, "not one of the available choices"),
        ("stage_name", {"stage_name": ""}, "Type “QA”"),
        ("stage_name", {"stage_name": "Production"}, "Type “QA”"),
        ("until", {"until": "soon"}, "valid date"),
        ("until", {"until": "0001-01-01T00:00"}, "in the past"),
        ("until", {"until": typed_time(-HOUR)}, "This time is in the past"),
        ("until", {"until": typed_time(IN_A_YEAR)}, "within a year"),
        ("until", {"policy": "nobody", "until": typed_time(HOUR)}, "Only a wider policy has an end"),
        ("version", {"version": ""}, "required"),
        ("version", {"version": "new"}, "whole number"),
    ],
)
def test_a_policy_that_cant_be_saved_is_said_at_its_field(
    as_administrator: Client, closed: Stage, field: str, values: dict[str, str], says: str
):
    page = change(as_administrator, closed, **values)
    assert page.status_code == 422
    assert says in str(page.context["policy_form"].errors[field])
    assert not page.context["allow_form"].errors
    stored = Stage.objects.get(pk=closed.pk)
    assert (stored.recipient_policy, stored.policy_version) == ("nobody", closed.policy_version)


@pytest.mark.parametrize(
    ("field", "values", "says"),
    [
        ("patterns", {"patterns": ""}, "required"),
        ("patterns", {"patterns": " , \n"}, "at least one"),
        ("patterns", {"patterns": "acme.example, gmail.com"}, "Everybody can have an address of gmail.com"),
        ("patterns", {"patterns": "acme.example\n*.beta.example"}, "wildcard"),
        ("patterns", {"patterns": "\n".join(f"person{number}@acme.example" for number in range(10_000))}, "10,000"),
        ("patterns", {"patterns": "ana@acme.example\x00"}, "Null characters"),
        ("stage_name", {"stage_name": ""}, "Type the stage"),
        ("stage_name", {"stage_name": "qa"}, "Type “QA”"),
        ("until", {"until": typed_time(-HOUR)}, "This time is in the past"),
        ("until", {"until": typed_time(IN_A_YEAR)}, "within a year"),
    ],
)
def test_addresses_that_cant_be_allowed_are_said_at_their_field(
    as_administrator: Client, closed: Stage, field: str, values: dict[str, str], says: str
):
    page = add(as_administrator, closed, **values)
    assert page.status_code == 422
    assert says in str(page.context["allow_form"].errors[field])
    assert not page.context["policy_form"].errors
    assert not closed.allowed_addresses.exists()
    assert Stage.objects.get(pk=closed.pk).policy_version == closed.policy_version


def test_what_was_typed_stays(as_administrator: Client, closed: Stage):
    page = add(as_administrator, closed, "acme.example, gmail.com", stage_name="QA").content.decode()
    assert "acme.example, gmail.com</textarea>" in page


def test_who_widens_a_policy_that_was_narrowed_meanwhile_is_told_and_led_to_the_page(as_administrator: Client, qa: Stage):
    listed = change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)
    for page in (change(as_administrator, listed, "as-apps-ask"), add(as_administrator, listed)):
        assert page.status_code == 422
        assert f'<a href="{PAGE}">Open the current values</a>' in page.content.decode()
    assert Stage.objects.get(pk=qa.pk).recipient_policy == RecipientPolicy.NOBODY
    assert not qa.allowed_addresses.exists()


def test_a_member_allows_themselves_unless_the_stage_is_full(as_administrator: Client, administrator, closed: Stage):
    assert as_administrator.post(f"{PAGE}allow-me/").status_code == 302
    assert closed.allowed_addresses.get().pattern == administrator.email
    as_administrator.post(f"{PAGE}{closed.allowed_addresses.get().pk}/disallow/")
    allow(closed, [f"person{number}@acme.example" for number in range(200)], OPERATOR, typed_stage_name="QA")
    page = as_administrator.post(f"{PAGE}allow-me/")
    assert page.status_code == 422
    assert "at most 200 allowed addresses" in page.content.decode()
    assert closed.allowed_addresses.count() == 200


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"pattern": "gmail.com"}, "Everybody can have an address"),
        ({"pattern": "*.acme.example"}, "wildcard"),
        ({"until_0": "2001-01-01", "until_1": "00:00"}, "This time is in the past"),
        ({"until_0": "2999-01-01", "until_1": "00:00"}, "within a year"),
        ({"stage_name": "qa"}, "Type “QA”"),
    ],
)
def test_django_admin_refuses_the_same_addresses(as_administrator: Client, qa: Stage, values: dict[str, str], says: str):
    typed = {"stage": qa.pk, "pattern": "acme.example", "stage_name": "QA", **values}
    page = as_administrator.post("/admin/organization/allowedaddress/add/", typed, follow=True)
    assert says in page.content.decode()
    assert not AllowedAddress.objects.exists()


def test_django_admin_refuses_an_end_in_the_past_and_saves_nothing_of_the_form(as_administrator: Client, closed: Stage):
    typed = {
        **{"name": "Quality", "order": closed.order, "kind": closed.kind, "policy": "listed-only", "confirmation": "Quality"},
        **{"version": closed.version, "policy_ends": "2001-01-01 00:00"},
    }
    page = as_administrator.post(f"/admin/organization/stage/{closed.pk}/change/", typed, follow=True)
    assert "This time is in the past" in page.content.decode()
    stored = Stage.objects.get(pk=closed.pk)
    assert (stored.name, stored.recipient_policy) == ("QA", "nobody")
