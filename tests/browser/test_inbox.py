"""Reading an inbox with the keyboard while emails come in."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from organization.models import App, Member, Stage
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from tests.support.browser import Person
from tests.support.emaillog import named
from tests.support.outbox import set_list
from tests.support.portal import OPERATOR, configure

URL = "/monitor/inbox/crm/qa/"


@pytest.fixture
def captured(crm: App, qa: Stage) -> None:
    configure(qa)
    set_list(crm, qa, "tess@acme.example", active=False)
    change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)
    for number in range(3):
        named(crm, qa, f"Invoice {number}")


def test_the_keyboard_reads_the_inbox_and_new_emails_appear_above(
    person: Person, administrator: Member, crm: App, qa: Stage, captured: None
) -> None:
    page, subject = person.page, person.page.locator(".inbox__email h2").first
    person.sign_in(administrator.email)
    person.open(URL)
    page.keyboard.press("ArrowDown")
    expect(subject).to_have_text("Invoice 2")
    page.keyboard.press("ArrowDown")
    expect(subject).to_have_text("Invoice 1")
    named(crm, qa, "Just in")
    expect(page.locator(".inbox__subject").first).to_have_text("Just in")
    expect(subject).to_have_text("Invoice 1")
    expect(page.locator(".inbox__row--unread")).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("just")
    page.keyboard.press("Enter")
    expect(page.locator(".inbox__row")).to_have_count(1)


def test_without_javascript_and_on_a_phone_the_list_comes_first(
    person_without_javascript: Person, administrator: Member, captured: None
) -> None:
    page = person_without_javascript.page
    person_without_javascript.sign_in(administrator.email)
    page.set_viewport_size({"width": 390, "height": 844})
    person_without_javascript.open(URL)
    page.get_by_role("link", name="Invoice 1").click()
    expect(page.locator(".inbox__side")).to_be_hidden()
    page.get_by_role("button", name="Send to me").click()
    assert "on its way to you" in person_without_javascript.flash_message
    page.get_by_role("link", name="All emails").click()
    expect(page.locator(".inbox__row")).to_have_count(3)
