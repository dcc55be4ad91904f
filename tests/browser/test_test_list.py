"""A test list as a person keeps it: paste a column, see what will change, save; with JavaScript on and off."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from organization.models import Member
from testlists.services import test_list_of as list_of
from tests.support.browser import RULES, Person
from tests.support.outbox import set_list
from tests.support.portal import make_member

pytestmark = pytest.mark.django_db(transaction=True)

EDIT = "/apps/crm/configuration/emails/qa/edit/"
COLUMN = "Name\tE-mail\nAna Silva\tana@example.com\nbob@example.com\tBob\nTess\ttess.tester@acme.example\nrubbish"
ADD = "Add other addresses"


def save(page: Page, stage: str = "qa") -> None:
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(f"**/apps/crm/configuration/emails/{stage}/")


@pytest.mark.parametrize("script", ["person", "person_without_javascript"])
def test_a_column_is_pasted_looked_at_and_saved(request, script, crm, qa):
    make_member("Tess Tester")
    set_list(crm, qa, "ana@example.com", active=False)
    visitor: Person = request.getfixturevalue(script)
    page = visitor.page
    check = page.get_by_role("button", name="Check")
    visitor.sign_in("ada.admin@acme.example")
    page.goto(visitor.url + EDIT)

    page.get_by_label(ADD).fill(COLUMN)
    if script == "person_without_javascript":
        check.click()
    preview = page.locator("#paste")
    expect(preview.get_by_text("Will be added: 2")).to_be_visible()
    expect(preview.get_by_text("Already on the list: 1")).to_be_visible()
    expect(preview.get_by_text("Not an address: 1")).to_be_visible()
    expect(preview.get_by_role("row").filter(has_text="Column titles")).to_be_visible()
    expect(preview.get_by_role("row").filter(has_text="This is a member's address.")).to_contain_text("Tess Tester")
    expect(preview.get_by_text("3 of 100")).to_be_visible()
    expect(page.get_by_label(ADD)).to_have_value(COLUMN)
    if script == "person":
        expect(page.locator("#paste-status")).to_contain_text("Will be added: 2.")
        page.get_by_role("button", name="Remove ana@example.com").click()
        expect(preview.get_by_text("Will be added: 3")).to_be_visible()
        page.get_by_role("button", name="Undo removing ana@example.com").click()
    assert [person.email for person in list_of(crm, qa).people()] == ["ana@example.com"]

    page.get_by_label(ADD).fill(COLUMN.removesuffix("\nrubbish"))
    save(page)
    added = ["Tess Tester <tess.tester@acme.example>", "ana@example.com", "Bob <bob@example.com>"]
    assert sorted(str(person) for person in list_of(crm, qa).people()) == sorted(added)


@pytest.mark.parametrize(
    ("label", "typed", "seen"),
    [(ADD, COLUMN, "Will be added: 3"), ("Find members", "tess", "Tess Tester")],
    ids=["a column", "a member's name"],
)
def test_what_is_typed_before_the_scripts_have_come_is_looked_at_too(person, crm, qa, label, typed, seen):
    make_member("Tess Tester")
    page = person.page
    person.sign_in("ada.admin@acme.example")
    slow: list[Route] = []
    done: list[bool] = []
    page.route("**/*.js", lambda script: script.continue_() if done else slow.append(script))
    page.goto(person.url + EDIT, wait_until="commit")
    page.get_by_label(label).fill(typed)
    done.append(True)
    for script in slow:
        script.continue_()
    expect(page.get_by_text(seen).first).to_be_visible()


@pytest.mark.parametrize("script", ["person", "person_without_javascript"])
def test_activation_in_production_asks_for_the_stages_name(request, script, crm, production):
    set_list(crm, production, "ana@example.com", active=False)
    visitor: Person = request.getfixturevalue(script)
    page = visitor.page
    name = page.get_by_label(re.compile("Name of the stage"))
    visitor.sign_in("ada.admin@acme.example")
    page.goto(visitor.url + "/apps/crm/configuration/emails/production/edit/")
    expect(name).to_be_hidden()
    page.get_by_role("switch").check(force=True)
    expect(name).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").get_by_text("Type the stage's name")).to_be_visible()
    expect(page.get_by_role("switch")).to_be_checked()
    name.fill("Production")
    name.press("Enter") if script == "person" else page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/apps/crm/configuration/emails/production/")
    assert list_of(crm, production).active

    page.goto(visitor.url + "/apps/crm/configuration/emails/production/edit/")
    warning = page.get_by_text("new emails go to real people again")
    expect(warning).to_be_hidden()
    page.get_by_role("switch").uncheck(force=True)
    expect(warning).to_be_visible()
    save(page, "production")
    assert not list_of(crm, production).active


def test_the_steps_of_the_source_document_lead_to_an_active_test_list(person, crm, qa):
    """Its section *Create a test list*, word for word."""
    page = person.page
    person.sign_in("devon.dev@acme.example")
    page.get_by_role("link", name="Apps", exact=True).click()
    page.get_by_role("link", name="Customer Relations").click()  # select your app
    page.get_by_role("link", name="Configuration", exact=True).click()  # on the Configuration page
    page.get_by_role("link", name="Emails", exact=True).click()  # open the email section
    page.get_by_role("link", name="Test list", exact=True).click()  # click on the Test list
    expect(page.get_by_role("heading", name="Test list", exact=True)).to_be_in_viewport()
    page.locator("#test-list").get_by_role("link", name="Edit", exact=True).click()  # and then click Edit
    expect(page.get_by_role("heading", level=1)).to_have_text("Test list of Customer Relations in QA")
    page.get_by_label(ADD).fill("ana@example.com, bob@example.com")  # you can add or remove users
    page.get_by_text("Inactive", exact=True).click()  # use the toggle to activate the list; its words belong to it
    expect(page.get_by_role("switch", checked=True)).to_be_visible()
    save(page)
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_role("button", name="Remove bob@example.com").press("Enter")
    expect(page.get_by_role("button", name="Undo removing bob@example.com")).to_be_focused()
    save(page)
    assert (list_of(crm, qa).active, [person.email for person in list_of(crm, qa).people()]) == (True, ["ana@example.com"])


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_preview_and_the_confirmation_are_accessible(person, crm, production, theme, width):
    set_list(crm, production, "ana@example.com", active=False)
    Member.objects.update(theme=theme)
    page = person.page
    page.set_viewport_size({"width": width, "height": 900})
    person.sign_in("ada.admin@acme.example")
    person.open("/apps/crm/configuration/emails/production/edit/")
    page.get_by_role("switch").check(force=True)
    page.get_by_label(ADD).fill(f"{COLUMN}\n{'x' * 300}")
    expect(page.locator("#paste").get_by_text("Not an address: 2")).to_be_visible()
    page.wait_for_function("document.getAnimations().length === 0")  # the toggle's and the buttons' colours take a moment
    violations = Axe().run(page, options=RULES).response["violations"]
    assert [(violation["id"], violation["nodes"][0]["html"][:120]) for violation in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.on("dialog", lambda dialog: dialog.accept())  # the form is left unsaved


def test_members_are_found_and_ticked_by_keyboard_alone(person, crm, qa):
    make_member("Tess Tester")
    make_member("Tess Other")
    page = person.page
    person.sign_in("ada.admin@acme.example")
    person.open(EDIT)
    page.get_by_label("Find members").focus()
    page.keyboard.type("tess")
    expect(page.locator("#found-status")).to_have_text("2 members to choose from.")
    assert page.evaluate("document.activeElement.name") == "find"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "find_members"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label(re.compile("Tess Tester"))).to_be_checked()
    expect(page.locator("#paste").get_by_text("1 of 100")).to_be_visible()
    page.get_by_label("Find members").fill("nobody")
    page.keyboard.press("Enter")  # searches; saves nothing and leaves nothing
    expect(page.locator("#found-status")).to_have_text("1 member to choose from.")  # the one that is ticked
    save(page)
    assert [person.name for person in list_of(crm, qa).people()] == ["Tess Tester"]
