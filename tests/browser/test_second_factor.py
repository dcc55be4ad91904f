"""Second factors in a real browser: a passkey of Chromium's virtual authenticator, the app by keyboard, both themes."""

from __future__ import annotations

import re

import pyotp
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from pytest_django import Settings

from accounts.models import Passkey
from organization.govern.services import require_second_factor
from organization.models import Member, Role
from tests.support.browser import RULES, Person
from tests.support.portal import OPERATOR, PASSWORD
from tests.support.second_factor import next_code

pytestmark = pytest.mark.django_db(transaction=True)

CHALLENGE = "/accounts/login/second-factor/"
OVERVIEW = "/accounts/second-factor/"


def accessible(page: Page) -> None:
    assert Axe().run(page, options=RULES).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def type_password(person: Person, email: str) -> None:
    person.open("/accounts/login/")
    person.page.get_by_label("Email").fill(email)
    person.page.locator("[name=password]").fill(PASSWORD)
    person.page.keyboard.press("Enter")


def sign_out(person: Person) -> None:
    person.page.context.clear_cookies()


@pytest.fixture
def device(person: Person, settings: Settings) -> str:
    """A device with a fingerprint sensor, at the address of PORTAL_URL."""
    settings.PORTAL_URL = person.url
    session = person.page.context.new_cdp_session(person.page)
    session.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    made = session.send("WebAuthn.addVirtualAuthenticator", {"options": {**options, "isUserVerified": True}})
    return str(made["authenticatorId"])


def test_a_passkey_is_added_signs_in_and_counts(person: Person, device: str) -> None:
    page = person.page
    person.sign_in("vera.viewer@acme.example")
    person.open(OVERVIEW)
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_label("Name").fill("Laptop")
    accessible(page)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="I have stored them").click()
    expect(page.get_by_role("row").filter(has_text="Laptop")).to_contain_text("Never")
    accessible(page)

    for _ in range(2):
        sign_out(person)
        type_password(person, "vera.viewer@acme.example")
        page.get_by_role("button", name="Use a passkey").click()
        page.wait_for_url(person.url + "/")
    assert Passkey.objects.get().sign_count > 1

    person.open(f"{OVERVIEW}passkeys/add/")
    page.get_by_role("button", name="Add").click()  # the same device once more
    expect(page.get_by_role("alert").filter(has_text="has a passkey of yours already")).to_be_visible()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_member_whose_role_requires_a_factor_sets_an_app_up_by_keyboard(person: Person, theme: str) -> None:
    Member.objects.update(theme=theme)
    require_second_factor(Role.objects.get(name="Viewer"), OPERATOR, required=True)
    page = person.page
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    type_password(person, "vera.viewer@acme.example")
    page.wait_for_url(person.url + OVERVIEW)
    accessible(page)
    press_tab_to(page, "a:has-text('authenticator app')")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{OVERVIEW}authenticator-app/")
    accessible(page)
    totp = pyotp.TOTP(re.sub(r"\s", "", page.locator("#totp-key").inner_text()))
    press_tab_to(page, "#id_code")
    page.keyboard.type(totp.now())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    codes = page.locator("#codes").inner_text().split()
    press_tab_to(page, "a:has-text('I have stored them')")
    page.keyboard.press("Enter")
    page.wait_for_url(person.url + "/")

    sign_out(person)
    type_password(person, "vera.viewer@acme.example")
    page.wait_for_url(person.url + CHALLENGE)
    press_tab_to(page, "#id_code")
    page.keyboard.type("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This code isn't right.")).to_be_visible()
    accessible(page)
    press_tab_to(page, "summary")
    page.keyboard.press("Enter")
    press_tab_to(page, "#id_recovery_code")
    page.keyboard.type(codes[0].lower())
    page.keyboard.press("Enter")
    page.wait_for_url(person.url + "/")
    assert person.flash_message == "You have 9 recovery codes left."

    sign_out(person)
    type_password(person, "vera.viewer@acme.example")
    press_tab_to(page, "#id_code")
    page.keyboard.type(next_code(totp))
    page.keyboard.press("Enter")
    page.wait_for_url(person.url + "/")


def press_tab_to(page: Page, selector: str) -> None:
    target = page.locator(selector).first
    for _ in range(30):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab doesn't reach {selector}")
