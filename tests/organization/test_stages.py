"""The Stages page: create, rename, order, archive and restore."""

from __future__ import annotations

import pytest
from django.test import Client

from organization.models import App, AuditEvent, Stage

PAGE = "/management/configure/stages/"
GETS = ["", "new/", "qa/edit/", "qa/archive/"]
POSTS = ["new/", "qa/edit/", "qa/up/", "qa/down/", "qa/archive/", "qa/restore/"]


def order() -> list[str]:
    return [stage.key for stage in Stage.objects.all()]


@pytest.fixture
def three(development: Stage, qa: Stage, production: Stage) -> None:
    assert order() == ["development", "qa", "production"]


@pytest.mark.parametrize("path", GETS)
def test_only_who_manages_the_organization_opens_the_pages(
    as_administrator: Client, as_developer: Client, qa: Stage, path: str
) -> None:
    assert as_administrator.get(PAGE + path).status_code == 200
    assert as_developer.get(PAGE + path).status_code == 403
    assert Client().get(PAGE + path).status_code == 302


@pytest.mark.parametrize("path", POSTS)
def test_a_direct_post_without_the_permission_changes_nothing(as_developer: Client, three: None, path: str) -> None:
    values = {"name": "Other", "key": "other", "kind": "production"}
    before = list(Stage.objects.values())
    assert as_developer.post(PAGE + path, values).status_code == 403
    assert list(Stage.objects.values()) == before


@pytest.mark.parametrize("path", ["qa/up/", "qa/down/", "qa/restore/"])
def test_acts_take_a_post(as_administrator: Client, qa: Stage, path: str) -> None:
    assert as_administrator.get(PAGE + path).status_code == 405


@pytest.mark.parametrize("path", ["edit/", "up/", "down/", "archive/", "restore/"])
def test_a_stage_that_is_not_there_is_not_found(as_administrator: Client, path: str) -> None:
    assert as_administrator.post(f"{PAGE}nowhere/{path}").status_code == 404


def test_pages_open_in_the_stage_looked_at_last(as_administrator: Client, crm: App, three: None) -> None:
    def opened() -> list[str]:
        return [as_administrator.get(entry)["Location"] for entry in ("/monitor/guarantee/", "/apps/crm/")]

    assert opened() == ["/monitor/guarantee/development/", "/apps/crm/configuration/emails/development/"]

    as_administrator.get("/management/configure/emails/qa/")
    assert opened() == ["/monitor/guarantee/qa/", "/apps/crm/configuration/emails/qa/"]

    as_administrator.get("/monitor/guarantee/nowhere/")
    assert opened()[0] == "/monitor/guarantee/qa/"

    Stage.objects.filter(key="qa").update(archived=True)
    assert opened()[0] == "/monitor/guarantee/development/"


def test_a_new_stage_comes_last(as_administrator: Client, three: None) -> None:
    answer = as_administrator.post(f"{PAGE}new/", {"name": "Staging", "key": "staging", "kind": "non_production"})
    assert answer["Location"] == PAGE
    assert order()[-1] == "staging"
    assert "Staging" in as_administrator.get(PAGE).content.decode()


@pytest.mark.parametrize(("name", "key"), [("Rehearsal of QA", "rehearsal-of-qa"), ("x" * 60, "x" * 40), ("ステージ", "")])
def test_an_empty_key_is_made_from_the_name(as_administrator: Client, db: None, name: str, key: str) -> None:
    answer = as_administrator.post(f"{PAGE}new/", {"name": name, "key": "", "kind": "non_production"})
    if key:
        assert Stage.objects.get().key == key
    else:
        assert answer.context["form"].errors == {"key": ["Enter a key."]}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "", "required"),
        ("key", "qa", "already exists"),
        ("key", "Not A Key", "A key has lower-case letters"),
        ("kind", "nonsense", "not one of the available choices"),
        ("name", "two\nlines", "Line breaks"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(as_administrator: Client, qa: Stage, field: str, value: str, says: str) -> None:
    values = {"name": "Staging", "key": "staging", "kind": "non_production", field: value}
    answer = as_administrator.post(f"{PAGE}new/", values)
    assert answer.status_code == 422
    assert says in str(answer.context["form"].errors[field])
    assert Stage.objects.count() == 1


def test_a_stage_is_renamed_and_keeps_its_key(as_administrator: Client, qa: Stage) -> None:
    as_administrator.post(f"{PAGE}qa/edit/", {"name": "Quality", "kind": "production", "key": "other", "version": 0})
    qa.refresh_from_db()
    assert (qa.name, qa.kind, qa.key) == ("Quality", "production", "qa")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("qa/up/", ["qa", "development", "production"]),
        ("qa/down/", ["development", "production", "qa"]),
        ("development/up/", ["development", "qa", "production"]),
        ("production/down/", ["development", "qa", "production"]),
    ],
)
def test_a_stage_moves_one_place_and_stays_at_the_ends(
    as_administrator: Client, three: None, act: str, expected: list[str]
) -> None:
    as_administrator.post(PAGE + act)
    assert order() == expected


def test_stages_of_equal_order_are_moved_apart(as_administrator: Client, three: None) -> None:
    Stage.objects.update(order=1)
    first, second, third = order()
    as_administrator.post(f"{PAGE}{second}/up/")
    assert order() == [second, first, third]


def test_an_archived_stage_leaves_the_selectors_and_can_come_back(as_administrator: Client, three: None) -> None:
    as_administrator.post(f"{PAGE}qa/archive/")
    assert Stage.objects.get(key="qa").archived
    assert "/management/configure/emails/qa/" not in as_administrator.get("/management/configure/emails/").content.decode()
    as_administrator.post(f"{PAGE}qa/restore/")
    assert not Stage.objects.get(key="qa").archived


def test_a_production_stage_is_archived_only_by_name(as_administrator: Client, production: Stage) -> None:
    for name, code in (("", 422), ("production", 422), (production.name, 302)):
        assert as_administrator.post(f"{PAGE}production/archive/", {"stage_name": name}).status_code == code
    production.refresh_from_db()
    assert production.archived


def test_every_change_is_in_the_audit_trail(as_administrator: Client, three: None) -> None:
    as_administrator.post(f"{PAGE}qa/up/")
    as_administrator.post(f"{PAGE}qa/archive/")
    events = AuditEvent.objects.filter(entity="stage", operation="Update")
    assert {key for event in events for key in event.after} == {"order", "archived", "version"}


def test_the_sidebar_shows_the_page_to_whom_may_open_it(as_administrator: Client, as_developer: Client) -> None:
    link = f'href="{PAGE}"'
    assert link in as_administrator.get("/management/configure/emails/").content.decode()
    assert link not in as_developer.get("/management/configure/emails/").content.decode()


@pytest.mark.parametrize(
    ("name", "kind", "badges"),
    [("Production", "production", 0), ("Live", "production", 1), ("Pre-production", "production", 1), ("QA", "development", 0)],
)
def test_the_selector_says_production_where_the_name_does_not(
    as_administrator: Client, name: str, kind: str, badges: int
) -> None:
    Stage.objects.create(key="one", name=name, kind=kind)
    page = as_administrator.get("/monitor/email-log/one/").content.decode()
    marks = 2 if kind == "production" else 0  # the button and its menu
    assert page.count("badge--production") == marks
    assert page.count('<span class="visually-hidden">Production stage<') == (marks if not badges else 0)
    assert page.count("production-line") == marks / 2


def test_creating_a_stage_says_where_it_comes(as_administrator: Client, qa: Stage) -> None:
    assert "A new stage comes last" in as_administrator.get("/management/configure/stages/new/").content.decode()
    assert "A new stage comes last" not in as_administrator.get("/management/configure/stages/qa/edit/").content.decode()
