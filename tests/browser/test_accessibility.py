"""axe-core finds nothing on any page, in both themes, at desktop and phone width; nothing overflows sideways."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from emailconfig import doctor_runs
from emailconfig.models import ConnectionTest, SmtpSettings
from organization.credentials import create_credential
from organization.models import App, Member, Stage
from outbox import rollup
from outbox.models import Message, StageQueue
from tests.browser.conftest import Person
from tests.conftest import OPERATOR, configure, eventually, make_member
from tests.outbox.conftest import deliver, send, set_list
from tests.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], "resultTypes": ["violations"]}
WIDTHS = (1280, 390)


@pytest.fixture
def busy_portal(crm, shop, development, qa, production, administrator, smtp_server, closed_port, monkeypatch) -> dict[str, Any]:
    """A portal with something on every page."""
    configure(qa, smtp_server, from_domains="*", authentication="none")
    smtp_server.rcpt = {"no@example.com": "550 5.1.1 no such user", "later@example.com": "451 4.7.1 later"}.get
    send(crm, qa, "yes@example.com", "no@example.com", "later@example.com")
    html = b"From: crm@acme.example\r\nTo: a@example.com\r\nSubject: HTML\r\nContent-Type: text/html\r\n\r\n<p lang=en>Hi</p>\r\n"
    set_list(crm, qa, "ana@acme.example", "ben@acme.example", tag_subject=True)
    send(crm, qa, content=html)
    deliver()
    held = send(crm, production)
    monkeypatch.setattr(rollup, "LAG", timedelta(0))
    rollup.roll_up()
    credential = create_credential(crm, qa, OPERATOR).credential
    in_trouble(crm, development)
    return {
        "message": Message.objects.filter(subject="HTML").get().pk,
        "held": held.pk,
        "credential": credential.pk,
        "test": failed_test(qa, administrator, closed_port).pk,
    }


def in_trouble(app: App, stage: Stage) -> None:
    """A stage whose server refuses it, so that a mail waits."""
    with SmtpServer(users={"portal": "right"}) as refusing:
        configure(stage, refusing, authentication="basic", username="portal", new_secret="another")
        send(app, stage)
        deliver()
    assert StageQueue.objects.get(stage=stage).paused


def failed_test(stage: Stage, member: Member, port: int) -> ConnectionTest:
    """A test of a connection that failed."""
    settings = SmtpSettings(stage=stage, server="127.0.0.1", port=port, security="none", sender_address="a@acme.example")
    test = doctor_runs.start(settings, "", member)
    eventually(lambda: ConnectionTest.objects.exclude(finished=None).exists())
    return test


PAGES = [
    "/",
    "/apps/",
    "/apps/?q=nothing",
    "/apps/new/",
    "/apps/crm/edit/",
    "/apps/crm/configuration/emails/qa/",
    "/apps/shop/configuration/emails/production/",
    "/apps/crm/configuration/emails/qa/edit/",
    "/apps/crm/configuration/emails/qa/route/?to=customer@example.com",
    "/apps/crm/configuration/emails/production/edit/",
    "/apps/crm/configuration/emails/qa/credentials/{credential}/revoke/",
    "/management/configure/emails/",
    "/management/configure/emails/qa/",
    "/management/configure/emails/production/",
    "/management/configure/emails/qa/edit/",
    "/management/configure/emails/qa/edit/?preset=microsoft-365",
    "/management/configure/emails/qa/delete/",
    "/management/configure/emails/qa/test-mail/",
    "/management/configure/emails/qa/test/{test}/",
    "/management/configure/emails/development/",
    "/management/configure/stages/",
    "/management/configure/stages/new/",
    "/management/configure/stages/production/archive/",
    "/help/",
    "/help/reference/commands/",
    "/monitor/analytics/",
    "/monitor/analytics/qa/?range=7d",
    "/monitor/analytics/production/",
    "/monitor/email-log/qa/",
    "/monitor/email-log/qa/?q=nothing",
    "/monitor/email-log/development/",
    "/monitor/email-log/qa/{message}/",
    "/monitor/email-log/qa/{message}/?show=headers",
    "/monitor/email-log/qa/{message}/?show=source",
    "/monitor/email-log/qa/{message}/resend/",
    "/monitor/email-log/qa/{message}/resend/real-recipients/",
    "/monitor/email-log/production/{held}/",
    "/monitor/email-log/production/{held}/cancel/",
    "/accounts/profile/",
    "/accounts/password/",
    "/no/such/page/",
]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_page_is_accessible(browser: Browser, live_server, people, busy_portal, closed_port, theme):
    Member.objects.update(theme=theme)
    make_member("Unused Person")
    context = browser.new_context(reduced_motion="reduce")
    person = Person(context, live_server.url)
    person.page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    problems: list[str] = []

    def examine(shown: str) -> None:
        """As it is at each width; it is left at the first, where it was loaded."""
        for width in (*WIDTHS[1:], WIDTHS[0]):
            person.page.set_viewport_size({"width": width, "height": 900})
            found = Axe().run(person.page, options=RULES).response["violations"]
            problems.extend(f"{shown} ({width} px): {one['id']} {one['nodes'][0]['html'][:120]}" for one in found)
            overflow = person.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            if overflow > 0:
                problems.append(f"{shown} ({width} px): {overflow} px too wide")

    def look(path: str) -> None:
        person.open(path)
        examine(path)

    look("/accounts/login/")
    person.sign_in("ada.admin@acme.example")
    for page in PAGES:
        look(page.format(**busy_portal))
    person.open("/management/configure/emails/qa/edit/")
    person.page.get_by_label("SMTP port").fill("25")
    person.page.get_by_role("button", name="Save").click()
    examine("errors shown")
    for port, verdict in ("25", "Nothing was tested yet"), (str(closed_port), "What to do:"):
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


def test_the_sidebar_and_the_forms_are_reached_by_keyboard(person, crm, qa):
    person.sign_in("ada.admin@acme.example")
    page = person.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip().lower().startswith("skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('main') !== null || location.hash !== ''")
