"""The three people at the pages of members, roles, audit trail and acts on many emails, by keyboard alone, in both themes."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from emailconfig.doctor.examination import Finding, record
from organization.models import Member, Role
from organization.permissions import Permission
from outbox.models import Recipient
from tests.support.browser import Person
from tests.support.emaillog import named
from tests.support.portal import OPERATOR, configure, make_member

pytestmark = pytest.mark.django_db(transaction=True)


def accessible(person: Person) -> None:
    for theme in ("dark", "light"):  # the members follow the system
        person.page.emulate_media(color_scheme=theme)
        person.accessible()


def search(person: Person, field: str, words: str) -> None:
    person.press_tab_to(field)
    person.page.keyboard.type(words)
    person.page.keyboard.press("Enter")


def test_the_administrator_makes_a_role_and_finds_it_in_the_audit_trail(person: Person, qa):
    page = person.page
    person.sign_in("ada.admin@acme.example")
    person.open("/management/govern/roles/")
    accessible(person)
    person.press_tab_to("a[href='/management/govern/roles/new/']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/roles/new/")
    person.press_tab_to("#id_name")
    page.keyboard.type("Tester")
    person.press_tab_to("input[value='resend_mail']")
    page.keyboard.press("Space")
    accessible(person)
    person.press_tab_to("button:text-is('Save')")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Tester")
    assert Role.objects.get(name="Tester").known_permissions == [Permission.ACCESS_ASSET_LOGS, Permission.RESEND_MAIL]
    accessible(person)

    person.open("/management/view/audit-trail/")
    search(person, "#id_words", "Tester")
    page.wait_for_url("**words=Tester**")
    expect(page.get_by_role("row").filter(has_text="Create")).to_contain_text("Ada Admin")
    accessible(person)


def test_the_developer_resends_from_the_log(person: Person, crm, shop, qa):
    configure(qa)
    named(crm, qa, "Invoice 1", status="failed")
    named(shop, qa, "Order 2", status="failed")
    Recipient.objects.update(status="failed")
    page = person.page
    person.sign_in("devon.dev@acme.example")
    expect(page.get_by_role("heading", name="Your apps")).to_be_visible()
    expect(page.get_by_role("heading", name="Your first day")).to_be_visible()
    accessible(person)
    person.press_tab_to("nav a:text('Email log')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/monitor/email-log/")
    person.press_tab_to("input[name=number]")
    page.keyboard.press("Space")
    expect(page.get_by_text("1 selected")).to_be_visible()
    accessible(person)
    person.press_tab_to("#selection button[value=resend]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Resend: 1 email")).to_be_visible()
    accessible(person)
    person.press_tab_to("button:text-is('Resend')")
    page.keyboard.press("Enter")
    expect(page.get_by_text("0 of 1 email done")).to_be_visible()
    accessible(person)


def test_the_operator_sees_who_may_do_what_and_what_failed(person: Person, qa):
    devon = Member.objects.get(name="Devon Dev")
    role = Role.objects.create(name="Operator", permissions=["view_members", "view_audit_trail"])
    make_member("Otto Operator", role)
    record(OPERATOR, configure(qa), [Finding("TCP", ok=False, cause="The server refuses the connection.")])
    page = person.page
    person.sign_in("otto.operator@acme.example")
    person.open("/management/govern/members/")
    search(person, "#id_q", "devon")
    page.wait_for_url("**q=devon**")
    person.press_tab_to(f"a[href='/management/govern/members/{devon.pk}/']")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What Devon Dev may do")).to_be_visible()
    expect(page.get_by_role("link", name="Edit", exact=True)).to_have_count(0)
    accessible(person)

    person.open("/management/view/audit-trail/")
    person.press_tab_to("#id_status")
    page.keyboard.type("Failed")
    page.wait_for_url("**status=failed**")
    expect(page.get_by_role("row").filter(has_text="The server refuses the connection.")).to_contain_text("QA")
    accessible(person)
