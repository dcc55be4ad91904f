"""The steps of ODC's "Configure emails", as a person does them, with JavaScript on and off."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page, expect

from emailconfig.services import settings_of
from organization.models import Credential
from outbox.models import Message
from testlists.services import test_list_of as list_of
from tests.support.outbox import deliver, send
from tests.support.portal import configure, make_member

pytestmark = pytest.mark.django_db(transaction=True)


def fill(page: Page, **values: str) -> None:
    for label, value in values.items():
        page.get_by_label(re.compile(rf"^{label.replace('_', ' ')}", re.IGNORECASE)).first.fill(value)


def test_an_administrator_sets_up_email_for_a_stage(visitor, crm, development, qa, production, smtp_server):
    page = visitor.page
    visitor.sign_in("ada.admin@acme.example")
    page.get_by_role("link", name="Management").click()
    page.get_by_role("link", name="Emails").click()
    page.get_by_role("link", name="QA").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Email configurations")
    page.get_by_role("link", name="Set up email").click()
    expect(page.get_by_label("SMTP port")).to_have_value("587")

    fill(page, SMTP_server="127.0.0.1", SMTP_port="25", Sender_address="no-reply@acme.example", Sender_name="Acme")
    page.get_by_label("None (not encrypted)").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("SMTP port 25 isn't supported").first).to_be_visible()
    expect(page.get_by_label("SMTP server")).to_have_value("127.0.0.1")
    expect(page.get_by_label("SMTP port")).to_have_value("25")

    fill(page, SMTP_port=str(smtp_server.port))
    page.get_by_label("Basic").check()
    page.locator("[name=username]").fill("portal")
    page.locator("[name=password]").fill("s3cret-canary")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/management/configure/emails/qa/")
    assert "saved" in visitor.flash_message
    assert "s3cret-canary" not in page.content()
    expect(page.get_by_text("••••••••")).to_be_visible()

    # Edit again: the password is kept when left empty, asked for again when the server changes.
    page.get_by_role("link", name="Edit").click()
    assert "s3cret-canary" not in page.content()
    fill(page, Sender_name="Acme Mail")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/management/configure/emails/qa/")
    assert settings_of(qa).secret.reveal() == "s3cret-canary"
    page.get_by_role("link", name="Edit").click()
    fill(page, SMTP_server="localhost")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Enter the password again").first).to_be_visible()
    expect(page.get_by_label("SMTP server")).to_have_value("localhost")
    page.get_by_role("link", name="Cancel").click()
    assert settings_of(qa).server == "127.0.0.1"


def test_a_developer_keeps_a_test_list_and_real_people_get_nothing(visitor, crm, shop, qa, production, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    make_member("Tess Tester")
    page = visitor.page
    visitor.sign_in("devon.dev@acme.example")
    page.get_by_role("link", name="Apps", exact=True).click()
    page.get_by_role("link", name="Customer Relations").click()
    page.wait_for_url("**/apps/crm/configuration/emails/qa/")
    page.get_by_role("link", name="Edit", exact=True).click()

    # Empty lists can't be activated, and nothing that was typed is lost.
    page.get_by_role("switch").check(force=True)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("An empty test list can't be Active").first).to_be_visible()

    page.get_by_label("Find members").fill("tess")
    page.get_by_role("button", name="Search").last.click()
    page.get_by_label(re.compile("Tess Tester")).check()
    page.get_by_label("Add other addresses").fill("QA <qa@acme.example>, rubbish")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Entry 2").first).to_be_visible()
    expect(page.get_by_label(re.compile("Tess Tester"))).to_be_checked()
    page.get_by_label("Add other addresses").fill("QA <qa@acme.example>")
    expect(page.get_by_role("switch")).to_be_checked()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/apps/crm/configuration/emails/qa/")
    assert "Active" in visitor.flash_message
    assert [person.email for person in list_of(crm, qa).people()] == ["tess.tester@acme.example", "qa@acme.example"]

    send(crm, qa, "customer@example.com")
    deliver()
    assert smtp_server.recipients == {"tess.tester@acme.example", "qa@acme.example"}

    # Why, in the email log.
    page.goto(visitor.url + "/monitor/email-log/qa/")
    page.get_by_role("link", name="Hello").click()
    expect(page.get_by_text("customer@example.com").first).to_be_visible()
    expect(page.get_by_text("was Active").first).to_be_visible()
    expect(page.get_by_text("250 Ok: kept").first).to_be_visible()

    # A person leaves the list.
    page.goto(visitor.url + "/apps/crm/configuration/emails/qa/edit/")
    page.get_by_role("button", name="Remove Tess Tester").click()
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/apps/crm/configuration/emails/qa/")
    assert [person.email for person in list_of(crm, qa).people()] == ["qa@acme.example"]

    # What is not theirs can't be edited.
    page.goto(visitor.url + "/apps/shop/configuration/emails/qa/")
    expect(page.get_by_role("link", name="Edit", exact=True)).to_have_count(0)
    page.goto(visitor.url + "/management/configure/emails/qa/")
    expect(page.get_by_role("link", name="Edit", exact=True)).to_have_count(0)


def test_an_app_gets_a_credential_that_is_shown_once(visitor, crm, qa):
    page = visitor.page
    visitor.sign_in("ada.admin@acme.example")
    page.goto(visitor.url + "/apps/crm/configuration/emails/qa/")
    page.get_by_label(re.compile("^Name")).fill("web server")
    page.get_by_role("button", name="Create credential").click()
    expect(page.get_by_role("heading", name="Credential created")).to_be_visible()
    password = page.locator("#password").inner_text()
    assert len(password) == 43
    page.get_by_role("link", name=re.compile("^Back")).click()
    assert password not in page.content()
    page.get_by_role("link", name=re.compile("^Revoke")).click()
    page.get_by_role("button", name=re.compile("Revoke")).click()
    assert "revoked" in visitor.flash_message
    assert Credential.objects.get().revoked


def test_an_app_is_created_and_edited(visitor, qa):
    page = visitor.page
    visitor.sign_in("ada.admin@acme.example")
    page.get_by_role("link", name="Apps", exact=True).click()
    page.get_by_role("link", name=re.compile("^Create")).first.click()
    fill(page, Name="Payroll", Key="payroll", Description="Pay slips")
    page.get_by_role("button", name="Save").click()
    page.wait_for_url("**/apps/payroll/configuration/emails/qa/")
    page.get_by_role("link", name="Edit app").click()
    fill(page, Name="Payroll 2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Payroll 2"))


def test_the_viewer_reads_and_changes_nothing(visitor, crm, qa):
    configure(qa)
    page = visitor.page
    visitor.sign_in("vera.viewer@acme.example")
    for path in ("/management/configure/emails/qa/", "/apps/crm/configuration/emails/qa/"):
        page.goto(visitor.url + path)
        expect(page.get_by_role("link", name="Edit", exact=True)).to_have_count(0)


def test_members_are_found_while_typing(person, crm, qa):
    make_member("Tess Tester")
    person.sign_in("ada.admin@acme.example")
    person.open("/apps/crm/configuration/emails/qa/edit/")
    person.page.get_by_label("Find members").press_sequentially("tess")
    expect(person.page.get_by_label(re.compile("Tess Tester"))).to_be_visible()


def test_the_eye_shows_only_what_was_just_typed(person, qa):
    configure(qa, server="localhost", authentication="basic", username="portal", new_secret="stored-canary")
    person.sign_in("ada.admin@acme.example")
    person.open("/management/configure/emails/qa/edit/")
    password = person.page.locator("[name=password]")
    expect(password).to_have_value("")
    password.fill("typed")
    person.page.locator("[aria-controls=id_password]").click()
    expect(password).to_have_attribute("type", "text")
    assert "stored-canary" not in person.page.content()


def test_leaving_an_edited_form_warns(person, qa):
    configure(qa)
    person.sign_in("ada.admin@acme.example")
    person.open("/management/configure/emails/qa/edit/")
    fill(person.page, Sender_name="Changed")
    asked: list[str] = []

    def stay(dialog):
        asked.append(dialog.type)
        dialog.accept()

    person.page.on("dialog", stay)
    person.page.get_by_role("link", name="Management").click()
    person.page.wait_for_url("**/apps/")
    assert asked == ["beforeunload"]


@pytest.fixture
def evil_host() -> Iterator[tuple[str, list[str]]]:
    """A web server that no preview may ever ask for anything: its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_the_preview_of_hostile_html_runs_nothing_and_loads_nothing(person, crm, qa, evil_host):
    configure(qa)
    address, asked = evil_host
    evil = (
        f"<script>parent.document.title='owned'</script><img src={address}/a.png onerror=\"parent.document.title='owned'\">"
        f"<iframe src={address}/></iframe><link rel=stylesheet href={address}/x.css><object data={address}/o></object>"
        f"<style>@import url({address}/y.css); body{{background:url({address}/z.png)}}</style>"
        f"<meta http-equiv=refresh content='0;url={address}/'><p>visible</p>"
    )
    content = f"From: crm@acme.example\r\nSubject: evil\r\nContent-Type: text/html\r\n\r\n{evil}\r\n"
    message = send(crm, qa, content=content.encode())
    person.sign_in("ada.admin@acme.example")
    person.open(f"/monitor/email-log/qa/{message.pk}/")
    expect(person.page.frame_locator("iframe").get_by_text("visible")).to_be_visible()
    person.page.wait_for_timeout(500)
    assert "owned" not in person.page.title()
    assert asked == []
    person.faults.clear()  # the frame's own policy said what it stopped


def test_a_mail_that_waits_shows_its_reason(person, crm, qa):
    message = send(crm, qa)
    person.sign_in("ada.admin@acme.example")
    person.open(f"/monitor/email-log/qa/{message.pk}/")
    expect(person.page.get_by_text("The stage has no SMTP settings").first).to_be_visible()
    assert Message.objects.get().status == "held"
