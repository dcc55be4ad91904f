"""Sending a test email: who may, what is refused, and the way it goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from emailconfig.models import SmtpSettings
from organization.models import App, AuditEvent, Stage
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message, RouteKind, Source
from tests.support.emailconfig import manager_of
from tests.support.outbox import deliver, set_list
from tests.support.pages import message_text, words
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

BASE = "/management/configure/emails/qa/"
TEST_MAIL = f"{BASE}test-mail/"


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """One that lets only the right password in."""
    with SmtpServer(users={"portal": "right"}) as server:
        yield server


@pytest.fixture
def working(qa: Stage, smtp_server: SmtpServer) -> SmtpSettings:
    """QA signed in with the right password."""
    return configure(qa, smtp_server, authentication="basic", username="portal", new_secret="right")


def test_a_test_mail_is_routed_like_other_mail_and_is_in_the_log(as_administrator, administrator, crm, qa, working, smtp_server):
    assert f'href="{TEST_MAIL}"' in words(as_administrator.get(BASE))
    asked = as_administrator.get(TEST_MAIL)
    assert asked.context["form"]["address"].value() == administrator.email
    assert Message.objects.count() == 0
    answer = as_administrator.post(TEST_MAIL, {"app": crm.pk, "address": "me@example.com"}, follow=True)
    message = Message.objects.get()
    assert answer.redirect_chain == [(f"/monitor/email-log/qa/{message.pk}/", 302)]
    assert message_text(answer) == "The test email was accepted. It goes to me@example.com."
    assert (message.via, message.app, message.stage) == (Source.PORTAL, crm, qa)
    assert "Portal (test mail)" in words(answer)
    assert "Test mail of QA" in words(as_administrator.get("/monitor/email-log/qa/"))
    deliver()
    (arrived,) = smtp_server.arrived
    assert (arrived.sender, arrived.recipients) == ("no-reply@acme.example", ["me@example.com"])
    assert arrived.mail["Subject"] == "Test mail of QA"
    assert arrived.mail["From"] == "Acme <no-reply@acme.example>"
    assert f"127.0.0.1:{smtp_server.port}" in arrived.mail.get_payload(decode=True).decode()
    event = AuditEvent.objects.get(operation="Send test mail")
    assert (event.actor, event.app, event.stage) == (administrator, crm, qa)
    assert event.entity_name == f"#{message.pk} Test mail of QA"


def test_a_test_mail_of_an_app_with_an_active_list_goes_to_the_people_on_it(as_administrator, crm, qa, working, smtp_server):
    set_list(crm, qa, "ana@acme.example")
    as_administrator.post(TEST_MAIL, {"app": crm.pk, "address": "customer@example.com"})
    deliver()
    assert smtp_server.recipients == {"ana@acme.example"}
    assert Message.objects.get().route == RouteKind.TEST_LIST


def test_the_stages_name_and_the_senders_may_hold_any_letters(as_administrator, crm, qa, working, smtp_server):
    Stage.objects.filter(pk=qa.pk).update(name="Prüfung, „QA“")
    configure(qa, sender_name="Größe, Gmbh", port=smtp_server.port)
    answer = as_administrator.post(TEST_MAIL, {"app": crm.pk, "address": "me@example.com"})
    assert answer.status_code == 302
    deliver()
    assert len(smtp_server.arrived) == 1


@pytest.mark.parametrize(
    "address", ["", "nobody", "a@b@c", "two@example.com, more@example.com", "x@example.com\r\nBcc: y@z.example"]
)
def test_a_bad_address_is_told_and_nothing_is_sent(as_administrator, crm, working, address):
    answer = as_administrator.post(TEST_MAIL, {"app": crm.pk, "address": address})
    assert answer.status_code == 422
    assert "Nothing was sent yet" in words(answer)
    assert answer.context["form"].errors.keys() == {"address"}
    assert not Message.objects.exists()


def test_an_archived_app_is_neither_offered_nor_taken(as_administrator, crm, shop, working):
    App.objects.filter(pk=shop.pk).update(archived=True)
    asked = words(as_administrator.get(TEST_MAIL))
    assert "Customer Relations" in asked
    assert "Web Shop" not in asked
    for app in (shop.pk, 999999, "x", ""):
        answer = as_administrator.post(TEST_MAIL, {"app": app, "address": "me@example.com"})
        assert (answer.status_code, answer.context["form"].errors.keys()) == (422, {"app"})
    assert not Message.objects.exists()


def test_an_archived_stage_sends_no_test_mail_and_says_why(as_administrator, crm, qa, working):
    Stage.objects.filter(pk=qa.pk).update(archived=True)
    answer = as_administrator.post(TEST_MAIL, {"app": crm.pk, "address": "me@example.com"})
    assert answer.status_code == 422
    assert "QA is archived and sends no mail." in words(answer)
    assert not AuditEvent.objects.filter(operation="Send test mail").exists()


def test_a_stage_without_settings_has_nothing_to_try_out(as_administrator, crm, qa):
    for answer in (as_administrator.get(TEST_MAIL, follow=True), as_administrator.post(TEST_MAIL, {}, follow=True)):
        assert answer.redirect_chain == [(BASE, 302)]
        assert "QA has no email configuration yet." in message_text(answer)
    assert TEST_MAIL not in words(as_administrator.get(BASE))


def test_who_may_not_sends_no_test_mail(client, as_viewer, as_developer, crm, production, working):
    data = {"app": crm.pk, "address": "me@example.com"}
    for browser in (as_viewer, as_developer, manager_of(production)):
        assert browser.get(TEST_MAIL).status_code == 403
        assert browser.post(TEST_MAIL, data).status_code == 403
        assert TEST_MAIL not in words(browser.get(BASE))
    assert client.post(TEST_MAIL, data)["Location"].startswith("/accounts/login/")
    assert not Message.objects.exists()


def test_who_sets_up_mail_but_may_not_read_the_log_is_led_back_to_the_settings(crm, qa, working):
    answer = manager_of(qa).post(TEST_MAIL, {"app": crm.pk, "address": "me@example.com"}, follow=True)
    assert answer.redirect_chain == [(BASE, 302)]
    assert Message.objects.count() == 1


def test_other_methods_and_other_stages(as_administrator, crm, working):
    assert as_administrator.put(TEST_MAIL).status_code == 405
    assert as_administrator.delete(TEST_MAIL).status_code == 405
    for method in ("get", "post"):
        assert getattr(as_administrator, method)(TEST_MAIL.replace("/qa/", "/nowhere/")).status_code == 404


def test_it_says_where_the_test_mail_went_to_who_may_not_read_the_log_too(crm, qa, working, smtp_server):
    as_configurator = manager_of(qa)
    set_list(crm, qa, "tess@acme.example", "ben@acme.example")
    answer = as_configurator.post(TEST_MAIL, {"app": crm.pk, "address": "me@example.com"}, follow=True)
    assert "It goes to the 2 people on the test list of Customer Relations in QA." in message_text(answer)
    change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)
    answer = as_configurator.post(TEST_MAIL, {"app": crm.pk, "address": "me@example.com"}, follow=True)
    assert "It was captured" in message_text(answer)
