"""Every page passes axe-core, fits the window and follows the content security policy.

axe-core runs at desktop and phone width, and measures the contrast in both themes. Nothing overflows sideways, also at 320 px
and at 200 % zoom.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from organization.models import Member
from tests.support.browser import RULES, Person
from tests.support.pages import ADMIN_PAGES, PAGES, PUBLIC_PAGES
from tests.support.portal import make_member

pytestmark = pytest.mark.django_db(transaction=True)


# Where axe looks, and where else nothing may overflow: a window of 1280 px at 200 % zoom is as wide as one of 640 px
# (WCAG 1.4.4), and 320 px is the narrowest (1.4.10).
WIDTHS = (1280, 390)
NARROWER = (640, 320)
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]}  # all that a theme changes
SWITCH_THEME = "(data => data.theme = data.theme === 'dark' ? 'light' : 'dark')(document.documentElement.dataset)"


class Examination:
    """What is wrong with the pages that a person looks at."""

    def __init__(self, person: Person) -> None:
        self.person, self.problems = person, list[str]()

    def look(self, path: str) -> None:
        self.person.open(path)
        self.examine(path)

    def examine(self, shown: str) -> None:
        """As it is at each width; it is left at the first, where it was loaded."""
        page = self.person.page
        for width in (*NARROWER, *reversed(WIDTHS)):
            page.set_viewport_size({"width": width, "height": 900})
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if overflow > 0:
                self.problems.append(f"{shown}: {overflow} px too wide for {width} px")
            if width in WIDTHS:
                self._ask_axe(f"{shown} ({width} px)", RULES)
                theme = page.evaluate(SWITCH_THEME)
                self._ask_axe(f"{shown} ({width} px, {theme})", CONTRAST)
                page.evaluate(SWITCH_THEME)

    def _ask_axe(self, shown: str, rules: dict[str, Any]) -> None:
        found = Axe().run(self.person.page, options=rules).response["violations"]
        self.problems.extend(f"{shown}: {violation['id']} {violation['nodes'][0]['html'][:120]}" for violation in found)


@pytest.fixture
def examination(browser: Browser, live_server: Any, people: None) -> Iterator[Examination]:
    Member.objects.update(theme="dark")
    context = browser.new_context(reduced_motion="reduce")
    person = Person(context, live_server.url)
    person.page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    examination = Examination(person)
    yield examination
    context.close()
    assert examination.problems == []
    person.fault_free()


@pytest.mark.parametrize("part", [0, 1])  # two can run at once
def test_every_page_is_accessible(examination: Examination, busy_portal: dict[str, Any], part: int) -> None:
    make_member("Unused Person")
    for page in PUBLIC_PAGES[part::2]:
        examination.look(page.format(**busy_portal))
    examination.person.sign_in("ada.admin@acme.example")
    for page in PAGES[part::2]:
        examination.look(page.format(**busy_portal))
    for page in ADMIN_PAGES[part::2]:
        examination.person.open(page.format(**busy_portal))  # Django's own: only the policy is looked at


def test_what_a_page_becomes_is_accessible(examination: Examination, busy_portal: dict[str, Any], closed_port: int) -> None:
    """Errors, the results of a test, and an open menu."""
    person, page = examination.person, examination.person.page
    person.sign_in("ada.admin@acme.example")
    person.open("/management/configure/emails/qa/edit/")
    page.get_by_label("SMTP port").fill("25")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".error-summary")).to_be_visible()
    page.wait_for_load_state()
    examination.examine("errors shown")
    for port, verdict in ("25", "Nothing was tested"), (str(closed_port), "What to do:"):
        page.get_by_label("SMTP port").fill(port)
        page.get_by_role("button", name="Test connection").click()
        expect(page.locator("#connection-test").get_by_text(verdict)).to_be_visible()
        examination.examine(verdict)
    person.open("/management/configure/emails/qa/")
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_role("link", name="Delete")).to_be_visible()
    examination.examine("the More menu")


# What has the focus: its name, whether an outline shows it (a row's link has it around the row, the navigation's switch
# around its label), and whether it lies under the header, which stays at the top.
FOCUSED = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  const outlined = [getComputedStyle(one), getComputedStyle(one, "::after"), getComputedStyle(one.nextElementSibling ?? one)]
    .some((style) => style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2);
  const header = document.querySelector(".header").getBoundingClientRect().bottom;
  const covered = one.closest("main") !== null && one.getBoundingClientRect().top < header;
  return { name: one.matches("a, button, summary") ? one.textContent.trim() : one.id, outlined, covered };
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(person, busy_portal, width):
    person.sign_in("ada.admin@acme.example")
    page = person.page
    page.set_viewport_size({"width": width, "height": 600})
    for path, reached in (
        ("/management/configure/emails/qa/edit/", {"id_server", "id_port", "id_sender_address", "Save", "Test connection"}),
        ("/apps/crm/configuration/emails/qa/edit/", {"id_active", "id_find", "id_add", "Check the addresses"}),
        ("/monitor/email-log/qa/", {"id_q", "id_status", "HTML"} if width > 640 else {"Filters", "HTML"}),
    ):
        person.open(path)
        stops = []
        while (stop := press_tab(page)) is not None and len(stops) < 100:
            stops.append(stop)
        assert [stop for stop in stops if stop["covered"] or not stop["outlined"]] == [], path
        assert stops[0]["name"] == "Skip to content"
        assert reached <= {stop["name"] for stop in stops}, path
    page.on("dialog", lambda dialog: dialog.accept())


def press_tab(page: Page) -> dict[str, Any] | None:
    page.keyboard.press("Tab")
    focused: dict[str, Any] | None = page.evaluate(FOCUSED)
    return focused


def test_skipping_to_the_content_and_sparing_people_motion(person, crm, qa):
    page = person.page
    page.emulate_media(reduced_motion="reduce")
    person.sign_in("ada.admin@acme.example")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('main') !== null || location.hash !== ''")
    moving = "[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 0
