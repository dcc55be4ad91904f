"""In a Production stage, activation asks for the stage's name; switching off says whom mail reaches then."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from organization.models import App, Stage
from testlists.models import TestList
from testlists.services import test_list_of
from tests.support.testlists import EDIT, keep_list, on_list, typed

PRODUCTION = "/apps/crm/configuration/emails/production/edit/"


@pytest.fixture
def ana(crm: App, production: Stage) -> TestList:
    return keep_list(crm, production, "ana@example.com")


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({}, "Type the stage's name to activate the list."),
        ({"stage_name": "  "}, "Type the stage's name to activate the list."),
        ({"stage_name": "production"}, "This isn't the stage's name. Type “Production”."),
        ({"stage_name": "QA"}, "This isn't the stage's name. Type “Production”."),
        ({"stage_name": "x" * 101}, "Ensure this value has at most 100 characters (it has 101)."),
    ],
)
def test_without_the_stages_name_nothing_is_saved_and_nothing_lost(
    as_developer: Client, ana: TestList, crm: App, production: Stage, named: dict[str, str], sentence: str
) -> None:
    answer = as_developer.post(PRODUCTION, typed(ana, active="on", tag_subject="on", add="half-typed, x@example.com", **named))
    assert answer.status_code == 422
    assert answer.context["form"].errors["stage_name"] == [sentence]
    page = answer.content.decode()
    assert 'href="#id_stage_name"' in page  # the summary leads to the field
    assert "half-typed, x@example.com" in page
    assert answer.context["form"]["active"].value()
    assert answer.context["form"]["tag_subject"].value()
    test_list = test_list_of(crm, production)
    assert (test_list.active, test_list.version, on_list(crm, production)) == (False, ana.version, ["ana@example.com"])


def test_with_the_stages_name_the_list_is_activated(as_developer: Client, ana: TestList, crm: App, production: Stage) -> None:
    assert as_developer.post(PRODUCTION, typed(ana, active="on", stage_name=" Production ")).status_code == 302
    assert test_list_of(crm, production).active


@pytest.mark.parametrize("named", [{}, {"stage_name": "anything"}])
def test_people_are_changed_without_it(
    as_developer: Client, ana: TestList, crm: App, production: Stage, named: dict[str, str]
) -> None:
    assert as_developer.post(PRODUCTION, typed(ana, add="bob@example.com", **named)).status_code == 302
    assert on_list(crm, production) == ["ana@example.com", "bob@example.com"]


def test_an_active_list_is_edited_and_switched_off_without_it(as_developer: Client, crm: App, production: Stage) -> None:
    active = keep_list(crm, production, "ana@example.com", active=True)
    assert as_developer.post(PRODUCTION, typed(active, add="bob@example.com")).status_code == 302
    active = test_list_of(crm, production)
    page = as_developer.get(PRODUCTION).content.decode()
    assert "new emails go to real people again" in page
    assert 'name="stage_name"' not in page
    switched_off: dict[str, Any] = {name: value for name, value in typed(active).items() if name != "active"}
    assert as_developer.post(PRODUCTION, switched_off).status_code == 302
    assert not test_list_of(crm, production).active


def test_an_edit_that_began_while_the_list_was_active_does_not_activate_it_again(
    as_developer: Client, crm: App, production: Stage
) -> None:
    active = keep_list(crm, production, "ana@example.com", active=True)
    keep_list(crm, production, "ana@example.com")
    assert as_developer.post(PRODUCTION, typed(active)).status_code == 422
    assert not test_list_of(crm, production).active


def test_other_stages_and_other_doors_ask_for_nothing(
    as_developer: Client, ana: TestList, ana_and_bob: TestList, crm: App, qa: Stage, production: Stage
) -> None:
    assert 'name="stage_name"' not in as_developer.get(EDIT).content.decode()
    assert as_developer.post(EDIT, typed(ana_and_bob, active="on")).status_code == 302
    call_command("test_list", "crm", "production", "--activate")
    assert test_list_of(crm, qa).active
    assert test_list_of(crm, production).active


def test_a_search_or_a_check_keeps_the_name_that_was_typed(
    as_developer: Client, ana: TestList, crm: App, production: Stage
) -> None:
    for button in ("check", "find_members"):
        answer = as_developer.post(PRODUCTION, typed(ana, active="on", stage_name="Produ", **{button: "1"}))
        assert answer.status_code == 200
        assert 'value="Produ"' in answer.content.decode()
    assert not test_list_of(crm, production).active
