"""Every page passes axe-core, fits the window and follows the content security policy.

axe-core runs in both themes, at desktop and phone width. Nothing overflows sideways, also at 320 px and at 200 % zoom.
"""

from __future__ import annotations

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


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_page_is_accessible(browser: Browser, live_server, people, busy_portal, closed_port, theme):
    Member.objects.update(theme=theme)
    make_member("Unused Person")
    context = browser.new_context(reduced_motion="reduce")
    person = Person(context, live_server.url)
    person.page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    problems: list[str] = []
    narrower = NARROWER if theme == "dark" else ()  # the theme changes nothing in a page's width

    def examine(shown: str) -> None:
        """As it is at each width; it is left at the first, where it was loaded."""
        for width in (*narrower, *reversed(WIDTHS)):
            person.page.set_viewport_size({"width": width, "height": 900})
            overflow = person.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if overflow > 0:
                problems.append(f"{shown}: {overflow} px too wide for {width} px")
            if width in WIDTHS:
                result = Axe().run(person.page, options=RULES).response["violations"]
                problems.extend(
                    f"{shown} ({width} px): {violation['id']} {violation['nodes'][0]['html'][:120]}" for violation in result
                )

    def look(path: str) -> None:
        person.open(path.format(**busy_portal))
        examine(path)

    for page in PUBLIC_PAGES:
        look(page)
    person.sign_in("ada.admin@acme.example")
    for page in PAGES:
        look(page)
    for page in ADMIN_PAGES:
        person.open(page.format(**busy_portal))  # Django's own: only the policy is looked at
    person.open("/management/configure/emails/qa/edit/")
    person.page.get_by_label("SMTP port").fill("25")
    person.page.get_by_role("button", name="Save").click()
    expect(person.page.locator(".error-summary")).to_be_visible()
    person.page.wait_for_load_state()
    examine("errors shown")
    for port, verdict in ("25", "Nothing was tested"), (str(closed_port), "What to do:"):
        person.page.get_by_label("SMTP port").fill(port)
        person.page.get_by_role("button", name="Test connection").click()
        expect(person.page.locator("#connection-test").get_by_text(verdict)).to_be_visible()
        examine(verdict)
    person.open("/management/configure/emails/qa/")
    person.page.get_by_text("More", exact=True).click()
    expect(person.page.get_by_role("link", name="Delete")).to_be_visible()
    examine("the More menu")
    context.close()
    assert problems == []
    person.fault_free()


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
