"""Every page of the portal, one picture each. docs/development/pictures.md shows them."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

from django.core.management import call_command
from playwright.sync_api import Browser, Page, ViewportSize, expect

from delivery.models import StageBackoff
from organization.models import Member
from portal.demo.organization import PASSWORD
from tests.support.smtp_server import free_port
from tools.screenshots.small_png import small_png
from tools.screenshots.working_day import Day

CONFIGURATION = "/management/configure/emails"
STAGES = "/management/configure/stages"
AUDIT_TRAIL = "/management/view/audit-trail/"
EMAILS = "/apps/crm/configuration/emails"
LOG = "/monitor/email-log"

# Pages that are shown as they open: name of the picture, address.
PAGES = {
    "home": "/",
    "apps": "/apps/",
    "apps-nothing-found": "/apps/?q=wiki",
    "app-create": "/apps/new/",
    "app-edit": "/apps/crm/edit/",
    "test-list": f"{EMAILS}/qa/",
    "test-list-empty": "/apps/shop/configuration/emails/qa/",
    "test-list-edit": f"{EMAILS}/qa/edit/",
    "simulator": f"{EMAILS}/qa/route/?to=customer@example.com&cc=billing@example.com",
    "email-configurations": f"{CONFIGURATION}/",
    "email-configuration": f"{CONFIGURATION}/qa/",
    "email-configuration-empty": f"{CONFIGURATION}/staging/",
    "email-configuration-edit": f"{CONFIGURATION}/qa/edit/",
    "stage-paused": f"{CONFIGURATION}/development/",
    "preset": f"{CONFIGURATION}/qa/edit/?preset=microsoft-365",
    "copy": f"{CONFIGURATION}/staging/edit/?copy_from=production",
    "delete": f"{CONFIGURATION}/production/delete/",
    "send-test-mail": f"{CONFIGURATION}/qa/test-mail/",
    "stages": f"{STAGES}/",
    "stage-create": f"{STAGES}/new/",
    "stage-edit": f"{STAGES}/qa/edit/",
    "stage-archive": f"{STAGES}/production/archive/",
    "analytics-of-all-stages": "/monitor/analytics/",
    "analytics": "/monitor/analytics/qa/",
    "analytics-empty": "/monitor/analytics/production/",
    "email-log": f"{LOG}/qa/",
    "email-log-nothing-found": f"{LOG}/qa/?q=nothing",
    "email-log-time-range": f"{LOG}/qa/?range=custom&start=2026-01-01T08:00&end=2036-12-31T18:00&status=failed",
    "email-log-empty": f"{LOG}/production/",
    "mail": f"{LOG}/qa/{{test_mail}}/",
    "mail-headers": f"{LOG}/qa/{{test_mail}}/?show=headers",
    "mail-held": f"{LOG}/staging/{{held_mail}}/",
    "mail-resend": f"{LOG}/qa/{{test_mail}}/resend/",
    "mail-resend-to-real-recipients": f"{LOG}/qa/{{test_mail}}/resend/real-recipients/",
    "mail-cancel": f"{LOG}/staging/{{held_mail}}/cancel/",
    "documentation": "/help/",
    "documentation-page": "/help/reference/statuses/",
    "profile": "/accounts/profile/",
    "sessions": "/accounts/sessions/",
    "second-factor": "/accounts/second-factor/",
    "members": "/management/govern/members/",
    "invite-member": "/management/govern/members/new/",
    "roles": "/management/govern/roles/",
    "guarantee": "/monitor/guarantee/qa/",
    "inbox": "/monitor/inbox/crm/qa/",
    "password": "/accounts/password/",
}
# These pages are too long to show them whole.
LONG = ("documentation", "email-log", "analytics-of-all-stages", "audit-trail")
# Shown in the light theme and on a phone too.
MAIN = ["home", "test-list", "email-configuration-edit", "email-log", "analytics"]
COLUMN = "Name\tE-mail\nAna Silva\tana@example.com\nDevon\tdev.devon@acme.example\nnot an address"


def take_all(browser: Browser, url: str, folder: Path, day: Day) -> None:
    for old in folder.glob("*.png"):
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    Pictures(browser, url, folder, day).take()


class Pictures:
    def __init__(self, browser: Browser, url: str, folder: Path, day: Day) -> None:
        self.browser, self.url, self.folder, self.day = browser, url, folder, day
        self.window: ViewportSize = {"width": 1280, "height": 800}
        self.page: Page = browser.new_page(viewport=self.window, color_scheme="dark", reduced_motion="reduce")
        self.page.on("dialog", lambda dialog: dialog.accept())  # forms are left unsaved
        self.blank: Page = browser.new_page()

    def take(self) -> None:
        self._sign_in()
        for name in PAGES:
            self._page(name)
        self._test_lists()
        self._credentials()
        self._email_configurations()
        self._audit_trail()
        self._menus()
        self._in_light_and_on_a_phone()
        self._recipient_policy()
        self._seen_by_a_viewer()

    def _open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def _submit(self, button: str) -> None:
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=button).click()

    def _keep(self, name: str) -> None:
        self._show_whole(name)
        self._write(name, self.page.screenshot())

    def _show_whole(self, name: str) -> None:
        """Make the window as high as the page. Outside of the window, the HTML of a message in its frame isn't drawn."""
        self.page.set_viewport_size(self.window)
        self.page.wait_for_load_state("networkidle")
        high = self.page.evaluate("document.documentElement.scrollHeight")
        if high > self.window["height"] and not name.startswith(LONG):
            self.page.set_viewport_size({**self.window, "height": high})
        self.page.wait_for_load_state("networkidle")
        if self.page.locator("iframe").count():
            self.page.frame_locator("iframe").get_by_text("Dear").wait_for()

    def _write(self, name: str, png: bytes) -> None:
        (self.folder / f"{name}.png").write_bytes(small_png(self.blank, png))

    def _page(self, name: str, suffix: str = "") -> None:
        self._open(PAGES[name].format(test_mail=self.day.test_mail, held_mail=self.day.held_mail))
        self._keep(name + suffix)

    def _sign_in(self, email: str = "ada.admin@acme.example") -> None:
        self._open("/accounts/login/")
        if email.startswith("ada"):
            self._keep("sign-in")
        self.page.locator("[name=username]").fill(email)
        if email.startswith("ada"):
            self.page.locator("[name=password]").fill("wrong")
            self._submit("Sign in")
            self._keep("sign-in-refused")
        self.page.locator("[name=password]").fill(PASSWORD)
        self._submit("Sign in")
        self.page.wait_for_url(f"{self.url}/")

    def _test_lists(self) -> None:
        self._open(f"{EMAILS}/qa/edit/")
        self.page.get_by_label("Add other addresses").fill(COLUMN)
        expect(self.page.locator("#paste").get_by_text("Not an address: 1")).to_be_visible()
        self._keep("test-list-paste")
        self._submit("Save")
        self._keep("test-list-errors")
        self._open(f"{EMAILS}/production/edit/")
        self.page.get_by_role("switch").check(force=True)
        self._keep("test-list-in-production")

    def _credentials(self) -> None:
        self._open(f"{EMAILS}/production/")
        self.page.locator("summary", has_text="for Production").click()
        self.page.get_by_label(re.compile("^Name")).fill("web server")
        self._submit("Create credential")
        self._keep("credential-created")
        self._open(f"{EMAILS}/production/")
        self.page.get_by_role("link", name=re.compile("^Revoke")).click()
        self._keep("credential-revoke")

    def _email_configurations(self) -> None:
        self._open(f"{CONFIGURATION}/staging/edit/")
        self.page.get_by_label("SMTP port").fill("25")
        self.page.get_by_label("Basic").check()
        self._submit("Save")
        self._keep("email-configuration-errors")
        self._open(f"{CONFIGURATION}/production/delete/")
        self._submit("Delete configuration")
        self._keep("delete-errors")
        for name, port, verdict in (
            ("connection-test", self.day.server_port, "The connection test was successful"),
            ("connection-test-failed", free_port(), "What to do:"),
        ):
            self._open(f"{CONFIGURATION}/qa/edit/")
            self.page.get_by_label("SMTP server").fill("127.0.0.1")
            self.page.get_by_label("SMTP port").fill(str(port))
            self.page.get_by_label("None (not encrypted)").check()
            self.page.get_by_label("None", exact=True).check()
            self.page.get_by_label("Test recipient").fill("customer@example.com")
            self.page.get_by_role("button", name="Test connection").click()
            self.page.locator("#connection-test").get_by_text(verdict).wait_for()
            self._show_whole(name)
            self._write(name, self.page.locator(".doctor-start").screenshot())

    def _audit_trail(self) -> None:
        """Take the audit trail last, after the actions that the other pictures show."""
        self._open(AUDIT_TRAIL)
        self._keep("audit-trail")
        self._open(f"{AUDIT_TRAIL}?operation=Update&app=crm&range=24h")
        self.page.locator(".audit__changes summary").first.click()
        self._keep("audit-trail-filtered")

    def _menus(self) -> None:
        self._open(f"{CONFIGURATION}/qa/")
        self.page.get_by_text("More", exact=True).click()
        self._keep("menu-more")
        self._open("/")
        self.page.get_by_text("Your menu").locator("..").click()
        self._keep("menu-of-the-member")

    def _in_light_and_on_a_phone(self) -> None:
        Member.objects.filter(name="Ada Admin").update(theme="light")
        for name in MAIN:
            self._page(name, "-light")
        Member.objects.filter(name="Ada Admin").update(theme="dark")
        self._resize(390, 844)
        for name in MAIN:
            self._page(name, "-phone")
        self._open("/")
        self.page.get_by_label("Show navigation").check(force=True)
        self._keep("navigation-phone")
        self._resize(1280, 800)

    def _resize(self, width: int, height: int) -> None:
        self.window = {"width": width, "height": height}
        self.page.set_viewport_size(self.window)

    def _recipient_policy(self) -> None:
        """Last, because the badge is shown wherever the stage's name is."""
        self._open(f"{CONFIGURATION}/staging/recipients/")
        self.page.get_by_label("Nobody: all email is captured").check()
        self._submit("Save policy")
        self._keep("recipient-policy")
        email = ("--from", "crm@acme.example", "--to", "customer@example.com", "--subject", "Your invoice")
        call_command("send_email", "crm", "staging", *email, stdout=StringIO())
        self._open(f"{LOG}/staging/")
        self._keep("email-log-captured")

    def _seen_by_a_viewer(self) -> None:
        """Take pages as a viewer sees them. Addresses are masked, and actions that the viewer may not do aren't shown."""
        self.page.context.clear_cookies()
        self._sign_in("vera.viewer@acme.example")
        self._page("home", "-of-a-viewer")
        self._page("email-log", "-of-a-viewer")
        self._page("mail", "-of-a-viewer")
        self._open(f"{CONFIGURATION}/qa/edit/")
        self._keep("not-allowed")
        StageBackoff.objects.all().delete()
        self._open("/")
        self._keep("home-all-is-well")
