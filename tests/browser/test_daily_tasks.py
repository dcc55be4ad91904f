"""Small things of every day that only a browser shows, and the clicks of a task."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Route, expect

from organization.credentials import create_credential, revoke_credential
from organization.models import Member
from tests.support.browser import Clicks, Person
from tests.support.emaillog import named
from tests.support.portal import OPERATOR, configure

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_email_is_found_by_address_in_two_clicks_from_home(person: Person, crm, qa, production):
    for stage, address in ((qa, "other@example.com"), (production, "customer@example.com")):
        configure(stage)
        named(crm, stage, f"Invoice for {address}", address)
    person.sign_in("ada.admin@acme.example")
    page, clicks = person.page, Clicks()
    page.get_by_label("Find an email").fill("customer@example.com")
    clicks.click(page.get_by_role("button", name="Find an email"))
    clicks.click(page.get_by_role("link", name="Invoice for"))
    expect(page.get_by_text("customer@example.com").first).to_be_visible()
    assert clicks.number == 2


def test_a_server_without_encryption_is_warned_about_while_it_is_chosen(person: Person, qa):
    person.sign_in("ada.admin@acme.example")
    person.open("/management/configure/emails/qa/edit/")
    warning = person.page.get_by_text("Without encryption, anyone on the network")
    expect(warning).to_be_hidden()
    person.page.get_by_label("None (not encrypted)").check()
    expect(warning).to_be_visible()
    person.page.get_by_label("STARTTLS").check()
    expect(warning).to_be_hidden()


def test_save_stays_in_sight_on_a_phone(person: Person, crm, qa):
    person.sign_in("ada.admin@acme.example")
    page = person.page
    page.set_viewport_size({"width": 390, "height": 700})
    for path in ("/management/configure/emails/qa/edit/", "/apps/crm/configuration/emails/qa/edit/", "/accounts/profile/"):
        person.open(path)
        save = page.get_by_role("button", name="Save")
        expect(save).to_be_in_viewport(ratio=1)
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(save).to_be_in_viewport(ratio=1)


def test_revoked_credentials_are_folded_away(person: Person, crm, qa):
    credentials = [create_credential(crm, qa, OPERATOR, name).credential for name in ("Old server", "New server")]
    person.sign_in("ada.admin@acme.example")
    person.open("/apps/crm/configuration/emails/qa/")
    page = person.page
    show = page.get_by_label("Show revoked credentials")
    expect(show).to_be_hidden()  # there is none
    revoke_credential(credentials[0], OPERATOR)
    page.reload()
    expect(page.get_by_text("Old server")).to_be_hidden()
    expect(page.get_by_text("New server")).to_be_visible()
    show.check()
    expect(page.get_by_text("Old server")).to_be_visible()


def test_the_browsers_time_zone_is_offered(browser: Browser, live_server, people):
    context = browser.new_context(timezone_id="Asia/Tokyo")
    person = Person(context, live_server.url)
    person.sign_in("ada.admin@acme.example")
    person.open("/accounts/profile/")
    person.page.get_by_role("button", name="Use this browser's: Asia/Tokyo").click()
    person.page.get_by_role("button", name="Save").click()
    expect(person.page.locator(".flash-message")).to_be_visible()
    assert Member.objects.get(name="Ada Admin").time_zone == "Asia/Tokyo"
    person.open("/accounts/profile/")
    expect(person.page.get_by_role("button", name="Use this browser's")).to_have_count(0)  # it is the profile's already
    person.fault_free()
    context.close()


def test_the_effect_of_a_policy_over_many_emails_shows_that_it_is_being_worked_out(person: Person, crm, qa):
    named(crm, qa, "Invoice", "customer@example.com")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    person.sign_in("ada.admin@acme.example")
    person.open("/management/configure/emails/qa/recipients/effect/")
    page = person.page
    page.route("**/recipients/effect/?**", hold)
    page.get_by_role("button", name="Show the effect").click()
    busy = page.get_by_role("progressbar", name="Reading the emails")
    expect(busy).to_be_visible()
    held[0].continue_()
    expect(page.get_by_text("1 recipient outside")).to_be_visible()
    expect(busy).to_be_hidden()
    assert "policy=listed-only" in page.url  # it can be linked and reloaded
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
