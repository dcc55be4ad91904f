"""Whom a test list affects: counted from the log, with bounded work; and the banners that say which lists are Active."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from emailconfig.models import SmtpSettings
from organization.builtin_roles import ADMINISTRATOR
from organization.models import App, Role, RoleGrant, Stage
from outbox import statements
from outbox.counts import test_list_counts
from outbox.models import Message
from testlists.recent_mail import recent_mail_in_words
from testlists.services import test_list_of
from testlists.signals import RecentMail
from tests.support.outbox import send, set_list
from tests.support.plans import plan
from tests.support.portal import configure, make_app, make_member, signed_in

LOG = "/monitor/email-log/qa/"


@pytest.fixture
def some_mail(crm: App, shop: App, qa: Stage, production: Stage) -> None:
    """Of crm in QA: two messages to three people, two that the list caught, one from yesterday. Others belong to other apps."""
    configure(qa)
    send(crm, qa, "a@example.com", "b@example.com")
    send(crm, qa, "b@example.com", "c@example.com")
    old = send(crm, qa, "old@example.com")
    Message.objects.filter(pk=old.pk).update(created=timezone.now() - timedelta(hours=25))
    send(shop, qa, "d@example.com")
    send(crm, production, "e@example.com")
    set_list(crm, qa, "ana@acme.example")
    send(crm, qa, "f@example.com")
    send(crm, qa, "g@example.com")


def test_the_last_day_is_counted(some_mail: None, crm: App, qa: Stage) -> None:
    test_list = test_list_of(crm, qa)
    assert test_list_counts.recent_mail(test_list) == RecentMail(caught=2, others=2, recipients=3, complete=True)
    words = recent_mail_in_words(test_list)
    assert words == "In the last 24 hours the list caught 2 emails. 2 emails were sent to 3 real recipients."


def test_held_mail_is_never_said_to_have_gone_past_the_list(crm: App, qa: Stage) -> None:
    send(crm, qa)  # the stage isn't configured
    set_list(crm, qa, "ana@acme.example")
    assert test_list_counts.recent_mail(test_list_of(crm, qa)) == RecentMail(
        caught=0, others=0, recipients=0, complete=True, held=1
    )
    assert "sent to" not in recent_mail_in_words(test_list_of(crm, qa))


def test_no_more_is_looked_at_than_is_bearable(some_mail: None, crm: App, shop: App, qa: Stage, monkeypatch) -> None:
    monkeypatch.setattr(test_list_counts, "_LOOKED_THROUGH", 2)
    assert test_list_counts.recent_mail(test_list_of(crm, qa)) == RecentMail(2, 0, 0, complete=False)
    words = recent_mail_in_words(test_list_of(shop, qa))
    assert words == "In the last 24 hours Web Shop sent none of the stage's newest emails in QA."
    monkeypatch.setattr(test_list_counts, "_LOOKED_THROUGH", 5_000)
    monkeypatch.setattr(RecentMail, "AT_MOST", 3)
    assert test_list_counts.recent_mail(test_list_of(crm, qa)) == RecentMail(2, 1, 2, complete=False)
    assert "caught 2 or more emails" in recent_mail_in_words(test_list_of(crm, qa))


def test_recipients_are_counted_up_to_a_thousand(crm: App, qa: Stage, monkeypatch) -> None:
    configure(qa)
    monkeypatch.setattr(RecentMail, "AT_MOST", 10)
    send(crm, qa, *(f"person{number}@example.com" for number in range(12)))
    assert "email was sent to 10 or more real recipients" in recent_mail_in_words(test_list_of(crm, qa))


@pytest.mark.parametrize(
    ("active", "recent_mail", "words"),
    [
        (True, RecentMail(0, 0, 0, True), "In the last 24 hours Customer Relations sent no emails in QA."),
        (True, RecentMail(1, 0, 0, True), "In the last 24 hours the list caught 1 email."),
        (
            True,
            RecentMail(0, 1, 1, True),
            "In the last 24 hours the list caught no emails. 1 email was sent to 1 real recipient.",
        ),
        (False, RecentMail(3, 0, 0, True), "In the last 24 hours the list caught 3 emails, before it was turned off."),
        (
            False,
            RecentMail(1, 999, 1000, False),
            "In the last 24 hours 999 or more emails were sent to 1,000 or more real recipients, because the list "
            "wasn't Active. It caught 1 or more emails, before it was turned off.",
        ),
        (True, RecentMail(0, 0, 0, True, held=1), "1 email of the last 24 hours is held and hasn't been sent."),
        (
            True,
            RecentMail(2, 0, 0, True, held=3),
            "In the last 24 hours the list caught 2 emails. 3 emails of the last 24 hours are held and haven't been sent.",
        ),
    ],
)
def test_the_numbers_are_said_in_words(
    crm: App, qa: Stage, monkeypatch, active: bool, recent_mail: RecentMail, words: str
) -> None:
    monkeypatch.setattr("outbox.receivers.recent_mail", lambda _: recent_mail)
    assert recent_mail_in_words(set_list(crm, qa, "ana@acme.example", active=active)) == words


def test_both_pages_say_it(some_mail: None, as_developer: Client) -> None:
    for page in ("", "edit/"):
        assert "the list caught 2 emails" in as_developer.get(f"/apps/crm/configuration/emails/qa/{page}").content.decode()


def test_the_work_is_bounded_by_the_logs_index(some_mail: None, shop: App, qa: Stage) -> None:
    query_plan = plan(statements.RECENT_OF_APP.statement, qa.pk, qa.pk, 5_000, shop.pk, timezone.now(), 1_001)
    assert "message_log" in query_plan
    assert "pkey" not in query_plan
    assert "SCAN outbox_message" not in query_plan
    assert "message_log" in plan(statements.IS_RECENT.statement, timezone.now(), qa.pk, qa.pk, 5_000)


def test_the_log_says_which_lists_are_active(as_viewer: Client, crm: App, shop: App, qa: Stage, production: Stage) -> None:
    assert "Test lists are Active" not in as_viewer.get(LOG).content.decode()
    set_list(crm, qa, "ana@acme.example")
    set_list(shop, production, "ana@acme.example")
    page = as_viewer.get(LOG).content.decode()
    assert "Test lists are Active in QA" in page
    assert '<a href="/apps/crm/configuration/emails/qa/">Customer Relations</a>.' in page
    assert "Web Shop</a>" not in page


def test_at_most_five_are_named(as_viewer: Client, qa: Stage) -> None:
    for number in range(7):
        set_list(make_app(f"app{number}", f"App {number}"), qa, "ana@acme.example")
    page = as_viewer.get(LOG).content.decode()
    banner = page[page.index("Test lists are Active") : page.index("Emails of these apps go")]
    assert banner.count("<a ") == 5
    assert "and 2 more" in banner


def test_only_apps_whose_log_the_member_may_read_are_named(crm: App, shop: App, qa: Stage) -> None:
    member = make_member("Sam")
    RoleGrant.objects.create(member=member, role=Role.objects.get(name=ADMINISTRATOR), app=shop)
    set_list(crm, qa, "ana@acme.example")
    assert "Test lists are Active" not in signed_in(member).get(LOG).content.decode()
    set_list(shop, qa, "ana@acme.example")
    page = signed_in(member).get(LOG).content.decode()
    assert "Web Shop</a>." in page[page.index("Test lists are Active") :]
    assert "Customer Relations</a>" not in page


def test_an_apps_pages_say_where_its_list_is_active(
    as_administrator: Client, crm: App, shop: App, qa: Stage, production: Stage, configured: SmtpSettings
) -> None:
    emails = "/apps/crm/configuration/emails/production/"
    pages = [emails, f"{emails}edit/", f"{emails}route/", "/apps/crm/edit/"]
    set_list(shop, qa, "ana@acme.example")
    for page in pages:
        assert "The test list of" not in as_administrator.get(page).content.decode()
    set_list(crm, qa, "ana@acme.example")
    set_list(crm, production, "ana@acme.example")
    for page in pages:
        shown = " ".join(as_administrator.get(page).content.decode().split())
        banner = shown.partition("The test list of Customer Relations is Active in")[2].partition("</p>")[0]
        assert '<a href="/apps/crm/configuration/emails/production/">Production</a>' in banner
        # Only a page that shows a stage tells it apart from the others.
        assert ("QA" in banner) == (page == "/apps/crm/edit/")
        quiet = '<a href="/apps/crm/configuration/emails/qa/">test list Active in QA</a>'
        assert (quiet in shown) == (page != "/apps/crm/edit/")
    assert "The test list of" not in as_administrator.get("/apps/").content.decode()
