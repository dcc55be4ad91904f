"""The inbox of an app in a stage: what is in it, for whom, what is unread, and how it is emptied."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from emaillog import inbox
from organization.models import AuditEvent
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message, RouteKind
from tests.support.emaillog import named
from tests.support.outbox import set_list
from tests.support.pages import words
from tests.support.portal import OPERATOR, configure

pytestmark = pytest.mark.django_db

URL = "/monitor/inbox/crm/qa/"


@pytest.fixture(autouse=True)
def _capturing(qa):
    configure(qa)
    change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)


def rows(client: Client, url: str = URL) -> list[tuple[str, bool]]:
    """The subjects in the list, and whether each is unread."""
    page = client.get(url).content.decode()
    return [
        (re.search(r'inbox__subject">([^<]*)<', row)[1], "Unread:" in row)
        for row in re.findall(r'<a class="inbox__row.*?</a>', page, re.DOTALL)
    ]


def test_captured_and_test_mail_of_the_app_is_listed_newest_first(as_administrator, crm, shop, qa, production):
    real = named(crm, production, "real mail")
    named(crm, qa, "captured")
    change_policy(qa, RecipientPolicy.AS_APPS_ASK, OPERATOR, typed_stage_name=qa.name)
    named(crm, qa, "to real people")
    set_list(crm, qa, "ana@acme.example")
    named(crm, qa, "test mail")
    named(shop, qa, "another app's")
    assert rows(as_administrator) == [("test mail", True), ("captured", True)]
    assert as_administrator.get(f"{URL}{real.pk}/").status_code == 404


def test_each_member_has_read_what_they_opened(as_administrator, as_developer, crm, qa):
    first, _ = named(crm, qa, "first"), named(crm, qa, "second")
    page = as_administrator.get(f"{URL}{first.pk}/")
    assert "Send to me" in words(page)
    assert rows(as_administrator) == [("second", True), ("first", False)]
    assert rows(as_developer) == [("second", True), ("first", True)]


def test_marks_of_what_was_read_stay_few(as_administrator, crm, qa, monkeypatch):
    monkeypatch.setattr(inbox, "_MARKS_AT_MOST", 2)
    numbers = [named(crm, qa, subject).pk for subject in "abcd"]
    for number in (numbers[1], numbers[2], numbers[3]):
        as_administrator.get(f"{URL}{number}/")
    assert [unread for _, unread in rows(as_administrator)] == [False, False, False, False]


def test_a_search_and_pages_leave_the_others_out(as_administrator, crm, qa):
    named(crm, qa, "invoice 1"), named(crm, qa, "newsletter")
    assert rows(as_administrator, f"{URL}?q=invoice") == [("invoice 1", True)]
    assert "No email matches" in words(as_administrator.get(f"{URL}?q=nothing"))


def test_what_comes_in_is_added_above_without_the_rest(as_administrator, crm, qa):
    named(crm, qa, "there already")
    poll = re.search(r'hx-get="([^"]+)"', as_administrator.get(URL).content.decode())[1].replace("&amp;", "&")
    assert as_administrator.get(poll).status_code == 204
    new = named(crm, qa, "new")
    assert rows(as_administrator, poll) == [("new", True)]
    assert f"above={new.pk}" in as_administrator.get(poll).content.decode()


def test_an_emptied_inbox_hides_what_was_there_and_the_log_keeps_it(as_administrator, as_viewer, crm, qa):
    old = named(crm, qa, "old")
    page = as_administrator.get(f"{URL}empty/").content.decode()
    named(crm, qa, "came while the question was asked")
    as_administrator.post(f"{URL}empty/", {"up_to": re.search(r'name="up_to" value="(\d+)"', page)[1]})
    assert rows(as_administrator) == rows(as_viewer) == [("came while the question was asked", True)]
    assert as_administrator.get(f"/monitor/email-log/qa/{old.pk}/").status_code == 200
    event = AuditEvent.objects.get(operation="Empty inbox")
    assert (event.app, event.stage, event.after) == (crm, qa, {"emails_up_to": old.pk})


def test_an_email_is_forwarded_from_the_inbox(as_administrator, administrator, crm, qa):
    message = named(crm, qa, "captured")
    answer = as_administrator.post(f"{URL}{message.pk}/send-to-me/", follow=True)
    assert "on its way to you" in words(answer)
    answer = as_administrator.post(f"{URL}{message.pk}/send-to-test-list/", follow=True)
    assert "Nobody is on the test list" in words(answer)
    (forwarded,) = Message.objects.filter(route=RouteKind.FORWARDED)
    assert list(forwarded.recipients.values_list("address", flat=True)) == [administrator.email]
    assert rows(as_administrator) == [("captured", False)]


def test_who_may_not_see_content_sees_masked_addresses_and_no_content(as_viewer, crm, qa):
    message = named(crm, qa, "captured")
    page = words(as_viewer.get(f"{URL}{message.pk}/"))
    assert "customer@example.com" not in page
    assert "Access user information" in page
    assert "Send to me" not in page


def test_a_page_of_the_inbox_takes_the_same_queries_for_many_emails(as_administrator, crm, qa, django_assert_max_num_queries):
    for number in range(20):
        named(crm, qa, f"email {number}")
    with django_assert_max_num_queries(25):
        as_administrator.get(URL)
