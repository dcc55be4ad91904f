"""A working day of the administrator, the developer and the operator, from start to end; with JavaScript on and off."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from analytics import rollup
from emailconfig.models import SmtpSettings
from organization.models import Credential, Stage
from outbox.models import Message
from testlists.services import test_list_of as list_of
from tests.support.browser import Person
from tests.support.outbox import deliver, send, set_list
from tests.support.portal import configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def follow(page: Page, name: str) -> None:
    page.get_by_role("link", name=name).click()
    page.wait_for_load_state()  # what is pressed before its scripts have come does the same, in a page of its own


def test_the_administrator_takes_a_stage_into_use_and_out_of_it(visitor: Person, crm, production, smtp_server: SmtpServer):
    page = visitor.page
    visitor.sign_in("ada.admin@acme.example")
    follow(page, "Management")
    follow(page, "Stages")
    follow(page, "Create stage")
    page.get_by_label("Name").fill("Staging")
    page.get_by_label("Key").fill("staging")
    page.get_by_label("Non-production").check()
    page.get_by_label("The recipients that apps give").check()  # or the test mail would be captured
    press(page, "Save")
    expect(page.get_by_text("The stage Staging was saved.")).to_be_visible()

    # Home says what is missing, and leads to it.
    follow(page, "ODC Email Portal")
    missing = page.get_by_role("listitem").filter(has_text="Staging has no SMTP server yet")
    missing.get_by_role("link", name="Set up email").click()
    follow(page, "Local relay")
    expect(page.get_by_text("Prepare Local relay")).to_be_visible()
    page.get_by_label("SMTP port").fill(str(smtp_server.port))
    page.get_by_label("Sender address").fill("no-reply@acme.example")
    if visitor.scripted:
        press(page, "Test connection")
        expect(page.get_by_text("The connection test was successful").last).to_be_visible()
    press(page, "Save")
    page.wait_for_url("**/management/configure/emails/staging/")

    # A real mail proves it.
    page.locator("main").get_by_role("link", name="Send a test mail").last.click()
    press(page, "Send test mail")
    expect(page.get_by_role("heading", level=1)).to_have_text("Test mail of Staging")
    deliver()
    page.reload()
    expect(page.get_by_text("250 Ok: kept", exact=True)).to_be_visible()
    follow(page, "Staging")
    row = page.get_by_role("row").filter(has_text="Test mail of Staging")
    expect(row).to_contain_text("Sent")
    assert smtp_server.recipients == {"ada.admin@acme.example"}

    # It gets another name, and is put away.
    page.goto(visitor.url + "/management/configure/stages/")
    page.get_by_role("link", name="Staging").click()
    page.get_by_label("Name").fill("Rehearsal")
    press(page, "Save")
    page.locator("summary[aria-label='Actions for Rehearsal']").click()
    page.get_by_role("link", name="Archive").last.click()
    press(page, "Archive stage")
    expect(page.get_by_role("row").filter(has_text="Rehearsal")).to_contain_text("Archived")
    assert Stage.objects.get(key="staging").archived
    assert SmtpSettings.objects.filter(stage__key="staging").exists()


def test_the_developer_tests_an_app_and_sees_what_is_his(visitor: Person, crm, shop, qa, production, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    page = visitor.page
    visitor.sign_in("devon.dev@acme.example")
    follow(page, "Management")
    expect(page.get_by_role("link", name="Stages")).to_have_count(0)
    expect(page.get_by_role("link", name="Django admin")).to_have_count(0)
    page.goto(visitor.url + "/management/configure/emails/qa/")
    for act in "More", "Test connection", "Edit":
        expect(page.get_by_text(act, exact=True)).to_have_count(0)
    page.goto(visitor.url + "/apps/shop/configuration/emails/qa/")
    expect(page.get_by_role("heading", name="Web Shop", exact=True)).to_be_visible()
    for act in "Create credential", "Edit", "Edit app":
        expect(page.get_by_text(act, exact=True)).to_have_count(0)

    # Whom would it reach? Real people, so a list is made of a pasted column.
    page.goto(visitor.url + "/apps/crm/configuration/emails/qa/")
    follow(page, "Try it")
    page.get_by_role("textbox", name="To", exact=True).fill("customer@example.com")
    press(page, "Show where it would go")
    expect(page.get_by_text("The recipients that the app gives: real people.")).to_be_visible()
    page.get_by_label("as if it were Active").check()
    press(page, "Show where it would go")
    expect(page.get_by_text("No one: the email would be held")).to_be_visible()
    page.goto(visitor.url + "/apps/crm/configuration/emails/qa/")
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_label("Add other addresses").fill("Ana Silva\tana@example.com\nBen\tben@example.com")
    if not visitor.scripted:
        press(page, "Check")
    expect(page.get_by_text("Will be added: 2", exact=True)).to_be_visible()
    page.get_by_role("switch").check(force=True)
    press(page, "Save")
    page.wait_for_url("**/apps/crm/configuration/emails/qa/")
    follow(page, "Try it")
    page.get_by_role("textbox", name="To", exact=True).fill("customer@example.com")
    press(page, "Show where it would go")
    expect(page.get_by_role("listitem").filter(has_text="customer@example.com")).to_contain_text("ana@example.com")

    # A credential comes and goes.
    page.goto(visitor.url + "/apps/crm/configuration/emails/qa/")
    press(page, "Create credential")
    expect(page.get_by_text("Copy the password now")).to_be_visible()
    follow(page, "Back to Customer Relations")
    page.get_by_role("link", name=re.compile("^Revoke")).click()
    press(page, "Revoke credential")
    assert Credential.objects.get().revoked

    # In Production he must mean it.
    set_list(crm, production, "ana@example.com", active=False)
    page.goto(visitor.url + "/apps/crm/configuration/emails/production/edit/")
    page.get_by_role("switch").check(force=True)
    page.get_by_label("Name of the stage").fill("QA")
    press(page, "Save")
    expect(page.get_by_text("This isn't the stage's name").first).to_be_visible()
    page.get_by_label("Name of the stage").fill("Production")
    press(page, "Save")
    page.wait_for_url("**/apps/crm/configuration/emails/production/")
    assert list_of(crm, production).active


def test_the_operator_sees_what_is_wrong_and_finds_the_mail(visitor: Person, crm, shop, qa, smtp_server, monkeypatch):
    monkeypatch.setattr(rollup, "LAG", timedelta(0))
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = {"no@example.com": "550 5.1.1 no such user"}.get
    for number in range(3):
        send(crm, qa, f"customer{number}@example.com")
    lost = send(shop, qa, "no@example.com")
    page = visitor.page

    # Nobody is signed in, no worker lives: monitoring is told.
    answer = page.goto(visitor.url + "/readyz")
    assert answer is not None
    assert (answer.status, answer.json()["worker"]) == (503, False)
    visitor.sign_in("ada.admin@acme.example")
    expect(page.get_by_text("Emails are not being delivered")).to_be_visible()
    deliver()
    rollup.roll_up()

    # From the number to the mail behind it.
    follow(page, "Analytics")
    page.goto(visitor.url + "/monitor/analytics/qa/")
    follow(page, "View failed emails")
    page.wait_for_url("**/monitor/email-log/qa/?status=failed")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("row").last).to_contain_text("no@example.com")
    page.goto(visitor.url + "/monitor/analytics/qa/")
    follow(page, "View emails in the email log: The server doesn't know this mailbox. QA")
    expect(page.get_by_role("row")).to_have_count(2)

    # A requested credential, and a list to remove.
    page.goto(visitor.url + "/monitor/email-log/qa/")
    page.get_by_label("Recipient: an address").fill("customer1@")
    press(page, "Apply")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("row").last).to_contain_text("customer1@example.com")
    with page.expect_download() as download:
        follow(page, "Export CSV")
    csv = Path(download.value.path()).read_text()
    assert "customer1@example.com" in csv
    assert "customer2@example.com" not in csv
    follow(page, "Reset filters")
    expect(page.get_by_role("row")).to_have_count(1 + Message.objects.count())
    page.goto(f"{visitor.url}/monitor/email-log/qa/{lost.pk}/")
    expect(page.get_by_text("550 5.1.1 no such user").first).to_be_visible()
