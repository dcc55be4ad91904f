"""Test connection as a person sees it: progress, success, failure with its cause; with JavaScript on and off."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from delivery.models import StageBackoff
from emailconfig.models import SmtpSettings
from organization.models import AuditEvent
from tests.support.outbox import deliver, send
from tests.support.portal import configure, eventually
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

EDIT = "/management/configure/emails/qa/edit/"
TYPED = "typed-canary"


@pytest.fixture(autouse=True)
def no_test_outlives_its_database(transactional_db: None) -> Iterator[None]:
    yield
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "doctor"])


@pytest.fixture
def go() -> threading.Event:
    return threading.Event()


@pytest.fixture
def slow_server(go) -> Iterator[SmtpServer]:
    """A server that accepts a password. It accepts a message only when the test tells it to."""
    with SmtpServer(users={"portal": TYPED}, mail=lambda _: go.wait(25) and None) as server:
        yield server


def type_settings(page: Page, port: int) -> None:
    page.get_by_label("SMTP server").fill("127.0.0.1")
    page.get_by_label("SMTP port").fill(str(port))
    page.get_by_label("None (not encrypted)").check()
    page.get_by_label("Basic").check()
    page.locator("[name=username]").fill("portal")
    page.locator("[name=password]").fill(TYPED)
    page.get_by_label("Sender address").fill("no-reply@acme.example")


def typed(page: Page) -> dict[str, str]:
    return {name: page.locator(f"[name={name}]").input_value() for name in ("server", "port", "username", "password")}


def press_test(page: Page) -> None:
    page.get_by_role("button", name="Test connection").click()


def allow_clipboard(context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])


def test_the_form_is_tested_as_typed_and_stays_as_typed(person, crm, qa, slow_server, go, closed_port):
    page = person.page
    allow_clipboard(page.context)
    person.sign_in("ada.admin@acme.example")
    person.open(EDIT)
    type_settings(page, slow_server.port)
    before = typed(page)

    # It works: first as far as it has come, then all of it.
    press_test(page)
    panel = page.locator("#connection-test")
    expect(panel).to_have_attribute("aria-busy", "true")
    expect(panel.get_by_text(f"Testing 127.0.0.1:{slow_server.port} …")).to_be_visible()
    expect(page.locator("#connection-test-status")).to_have_text(re.compile("Testing: Sender"))
    expect(panel.get_by_text("Sign-in (AUTH)", exact=True)).to_be_visible()
    go.set()
    expect(panel.get_by_text("The connection test was successful")).to_be_visible()
    expect(page.locator("#connection-test-status")).to_have_text("The connection test was successful.")
    assert panel.get_attribute("aria-busy") is None
    panel.get_by_text("Conversation").last.click()
    expect(panel.get_by_text("RSET").last).to_be_visible()
    assert typed(page) == before

    # It doesn't: the cause, what to do, and the words to copy, in sight and without losing one's place.
    page.get_by_label("SMTP port").fill(str(closed_port))
    press_test(page)
    expect(panel.get_by_text("The connection test failed")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Test connection")).to_be_focused()
    expect(panel.get_by_role("link", name="Go to SMTP port")).to_be_visible()
    expect(panel.get_by_text("nothing listens on this port.")).to_be_visible()
    expect(panel.get_by_text("What to do:")).to_be_visible()
    expect(page.locator("#connection-test-status")).to_have_text("The connection test failed.")
    panel.get_by_role("button", name="Copy").click()
    expect(panel.get_by_text("Copied")).to_be_visible()
    assert "Connection refused" in page.evaluate("navigator.clipboard.readText()")
    assert typed(page) == {**before, "port": str(closed_port)}

    # It can't be tested yet: the field is named.
    page.get_by_label("SMTP port").fill("25")
    press_test(page)
    expect(panel.get_by_text("Nothing was tested")).to_be_visible()
    panel.get_by_role("link", name="SMTP port: SMTP port 25 isn't supported").click()
    expect(page.get_by_label("SMTP port")).to_be_focused()
    assert typed(page) == {**before, "port": "25"}
    assert page.url.endswith(f"{EDIT}#id_port")
    assert not SmtpSettings.objects.exists()
    assert TYPED not in page.content()
    assert AuditEvent.objects.filter(operation="Test").count() == 2
    page.get_by_role("link", name="Cancel").click()  # asks nothing more
    page.wait_for_url("**/management/configure/emails/qa/")


def test_saved_settings_are_tested_on_the_page_that_shows_them(person, crm, qa, slow_server, go):
    configure(qa, slow_server, authentication="basic", username="portal", new_secret=TYPED)
    slow_server.rcpt = lambda _: "554 5.7.1 Relay access denied"
    go.set()
    page = person.page
    person.sign_in("ada.admin@acme.example")
    person.open("/management/configure/emails/qa/")
    page.get_by_label("Test recipient").fill("customer@example.com")
    press_test(page)
    expect(page.get_by_text("The connection test failed").last).to_be_visible()
    expect(page.get_by_text("554 5.7.1 Relay access denied")).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_be_visible()
    assert len(page.context.pages) == 1


def test_without_javascript_the_test_opens_in_a_tab_of_its_own_and_refreshes_to_its_end(
    person_without_javascript, crm, qa, slow_server, go
):
    page = person_without_javascript.page
    person_without_javascript.sign_in("ada.admin@acme.example")
    page.goto(person_without_javascript.url + EDIT)
    type_settings(page, slow_server.port)
    before = typed(page)
    with page.context.expect_page() as opened:
        press_test(page)
    tab = opened.value
    tab.reload()  # Playwright switches scripts off only after a new tab has parsed its first page
    expect(tab.get_by_text(f"Testing 127.0.0.1:{slow_server.port} …")).to_be_visible()
    go.set()
    expect(tab.get_by_text("The connection test was successful")).to_be_visible()
    expect(tab.get_by_role("link", name="QA")).to_be_visible()
    assert typed(page) == before
    assert not SmtpSettings.objects.exists()

    page.get_by_label("SMTP port").fill("25")
    with page.context.expect_page() as opened:
        press_test(page)
    expect(opened.value.get_by_text("SMTP port: SMTP port 25 isn't supported")).to_be_visible()
    assert typed(page) == {**before, "port": "25"}


@pytest.mark.parametrize("script", ["person", "person_without_javascript"])
def test_a_paused_stage_is_resumed_where_one_sees_it(request, script, crm, qa, smtp_server):
    visitor = request.getfixturevalue(script)
    page = visitor.page
    smtp_server.users = {"portal": "right"}
    configure(qa, smtp_server, authentication="basic", username="portal", new_secret="refused", from_domains="*")
    message = send(crm, qa)
    deliver()
    visitor.sign_in("ada.admin@acme.example")
    page.goto(f"{visitor.url}/monitor/email-log/qa/{message.pk}/")
    expect(page.get_by_text("Deliveries of QA are paused.")).to_be_visible()
    expect(page.get_by_text("The server doesn't accept username and password.").first).to_be_visible()
    smtp_server.users = {"portal": "refused"}
    page.get_by_role("button", name="Resume").click()
    assert "were resumed" in visitor.flash_message
    assert page.url.endswith(f"/monitor/email-log/qa/{message.pk}/")
    expect(page.get_by_text("Deliveries of QA are paused.")).to_have_count(0)
    assert not StageBackoff.objects.filter(failures__gt=0).exists()
    deliver()
    assert len(smtp_server.arrived) == 1


@pytest.mark.parametrize("script", ["person", "person_without_javascript"])
def test_a_stage_is_set_up_from_another_and_deleted(request, script, crm, qa, production):
    configure(production, server="smtp.production.example", authentication="none", security="starttls", sender_name="Acme Mail")
    visitor = request.getfixturevalue(script)
    page = visitor.page
    visitor.sign_in("ada.admin@acme.example")
    page.goto(visitor.url + "/management/configure/emails/production/")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Copy to QA").click()
    expect(page.get_by_text("These are the settings of Production, to be saved for QA")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Sender name")).to_contain_text("Acme Mail")
    expect(page.get_by_text("isn't copied")).to_have_count(0)  # there is no secret
    expect(page.get_by_label("SMTP server")).to_have_value("smtp.production.example")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/management/configure/emails/qa/")
    assert SmtpSettings.objects.get(stage=qa).sender_name == "Acme Mail"

    page.goto(visitor.url + "/management/configure/emails/production/")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete configuration").click()
    expect(page.get_by_text("Nothing was deleted yet")).to_be_visible()
    page.get_by_label("Name of the stage").fill("Production")
    page.get_by_role("button", name="Delete configuration").click()
    page.wait_for_url("**/management/configure/emails/production/")
    expect(page.get_by_text("Set up email for this stage")).to_be_visible()
    assert not SmtpSettings.objects.filter(stage=production).exists()


def test_a_preset_shows_the_fields_that_belong_to_it(person, qa):
    page = person.page
    person.sign_in("ada.admin@acme.example")
    person.open(EDIT)
    expect(page.get_by_label("Client ID")).to_be_hidden()
    page.get_by_role("link", name="Microsoft 365").click()
    expect(page.get_by_text("Prepare Microsoft 365")).to_be_visible()
    expect(page.get_by_label("SMTP server")).to_have_value("smtp.office365.com")
    expect(page.get_by_label("OAuth 2.0")).to_be_checked()
    expect(page.get_by_label("Client ID")).to_be_visible()
    expect(page.locator("[name=client_secret]")).to_be_visible()
    expect(page.locator("[name=password]")).to_be_hidden()
    page.get_by_label("Basic").check()
    expect(page.get_by_label("Client ID")).to_be_hidden()
    expect(page.locator("[name=password]")).to_be_visible()
