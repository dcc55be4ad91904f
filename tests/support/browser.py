"""A person at a browser window."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, Page, Request, Response

from tests.support.portal import PASSWORD

# What axe-core looks for.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], "resultTypes": ["violations"]}
# Chromium's console names what it stopped; this names also what it stops in silence, with the line it comes from.
_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`Policy: ${event.effectiveDirective} stopped ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`);
});
"""


class Person:
    """A person at a browser window, whose errors are recorded."""

    def __init__(self, context: BrowserContext, url: str, *, scripted: bool = True) -> None:
        context.set_default_timeout(30_000)
        context.add_init_script(_REPORT_VIOLATIONS)
        self.page: Page = context.new_page()
        self.url = url
        self.scripted = scripted
        self.faults: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("response", self._answered)
        self.page.on("requestfailed", self._unanswered)

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and self._is_part_of_a_page(response.request):
            self.faults.append(f"{response.status} for {response.url}")

    def _unanswered(self, request: Request) -> None:
        if self._is_part_of_a_page(request) and request.failure != "net::ERR_ABORTED":  # the page was left meanwhile
            self.faults.append(f"{request.failure} for {request.url}")

    def _is_part_of_a_page(self, request: Request) -> bool:
        """Whether it was requested for a page: not the page itself, and not the answer to a form."""
        return request.resource_type not in ("document", "xhr", "fetch") or request.frame != self.page.main_frame

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def sign_in(self, email: str) -> None:
        self.open("/accounts/login/")
        self.page.get_by_label("Email").fill(email)
        self.page.locator("[name=password]").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(self.url + "/")

    @property
    def flash_message(self) -> str:
        return self.page.locator(".flash-message").first.inner_text()

    def fault_free(self) -> None:
        """Assert no script error, nothing that the content security policy stopped, and no missing part of a page."""
        assert [fault for fault in self.faults if "Failed to load resource" not in fault] == []

    def press_tab_to(self, selector: str) -> None:
        """Press Tab until the element has the focus."""
        target = self.page.locator(selector)
        for _ in range(80):
            self.page.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"Tab doesn't reach {selector}")

    def accessible(self) -> None:
        """Axe-core finds nothing on the page as it is."""
        response = Axe().run(self.page, options=RULES).response
        violations = [f"{violation['id']}: {violation['nodes'][0]['html'][:120]}" for violation in response["violations"]]
        assert not violations, violations


class Clicks:
    """What a person does on pages, counted. To choose from a menu is one click, as is Enter. Typing isn't counted."""

    def __init__(self) -> None:
        self.number = 0

    def click(self, target: Locator) -> None:
        target.click()
        self.number += 1

    def choose(self, target: Locator, value: str) -> None:
        target.select_option(value)
        self.number += 1

    def enter(self, page: Page) -> None:
        page.keyboard.press("Enter")
        self.number += 1
