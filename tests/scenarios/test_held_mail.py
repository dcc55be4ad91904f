"""Held email asks before it goes, end to end: what the stage's server really receives."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.utils import timezone

from common.clock import database_now
from delivery import backoff
from delivery.models import StageBackoff
from delivery.worker import sweep
from organization.access import Scope
from organization.models import AuditEvent
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox import states
from outbox.holding.held_mail import Choice, answer, held_mail
from outbox.models import HeldAnswer, HoldReason, Message, Recipient, Status
from tests.support.outbox import deliver, send, set_list, statuses
from tests.support.pages import message_text, words
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)
CUSTOMER, TESS = "customer@example.com", "tess@acme.example"


@pytest.fixture
def smtp_server():
    with SmtpServer(pipelining=True) as server:
        yield server


def reached(server: SmtpServer) -> list[str]:
    return sorted(address for arrived in server.arrived for address in arrived.recipients)


def state(message: Message) -> tuple[str, str]:
    return Message.objects.values_list("status", "hold_reason").get(pk=message.pk)


def settings_url(stage) -> str:
    return f"/management/configure/emails/{stage.key}/"


def test_saving_settings_sends_test_mail_and_asks_about_the_rest(crm, shop, qa, smtp_server):
    set_list(crm, qa, TESS)
    send(crm, qa, CUSTOMER)
    asks = send(shop, qa, CUSTOMER, "other@example.com")
    configure(qa, smtp_server, from_domains="*")
    sweep()
    deliver()
    assert reached(smtp_server) == [TESS]
    assert state(asks) == (Status.HELD, HoldReason.STAGE_NOT_CONFIGURED)
    question = held_mail(Scope(stage=qa))
    assert (question.depth.messages, question.outside) == (1, {CUSTOMER, "other@example.com"})
    assert not held_mail(Scope(crm, qa))
    answer(Scope(stage=qa), Choice.DELIVER, OPERATOR)
    deliver()
    assert reached(smtp_server) == [CUSTOMER, "other@example.com", TESS]


def test_the_page_asks_until_it_is_answered_and_home_goes_on(as_administrator, crm, qa, smtp_server):
    message = send(crm, qa, CUSTOMER)
    assert "1 email is held" not in words(as_administrator.get(settings_url(qa)))  # without settings nothing could go
    configure(qa, smtp_server, from_domains="*")
    for page in (settings_url(qa), f"/apps/crm/configuration/emails/{qa.key}/"):
        shown = words(as_administrator.get(page))
        assert "1 email is held" in shown
        assert "<strong>1 address</strong> outside" in shown
    assert "1 email of QA held: deliver, keep or discard?" in words(as_administrator.get("/"))
    kept = as_administrator.post(f"{settings_url(qa)}held/", {"answer": "keep"}, follow=True)
    assert "1 email is held" not in words(kept)
    assert state(message) == (Status.HELD, HoldReason.KEPT)
    home = words(as_administrator.get("/"))
    assert "1 email of QA kept" in home
    assert f"{settings_url(qa)}held/" in home
    assert "1 email is held" in words(as_administrator.get(f"{settings_url(qa)}held/"))
    as_administrator.post(f"{settings_url(qa)}held/", {"answer": "deliver"})
    deliver()
    assert reached(smtp_server) == [CUSTOMER]
    assert "Nothing waits for an answer" in words(as_administrator.get(f"{settings_url(qa)}held/"))


def test_home_asks_about_one_stage_while_another_has_no_settings_yet(as_administrator, crm, shop, qa, production, smtp_server):
    send(crm, qa, CUSTOMER)
    send(shop, production, CUSTOMER)
    configure(qa, smtp_server, from_domains="*")
    assert "1 email of QA held: deliver, keep or discard?" in words(as_administrator.get("/"))


def test_what_is_delivered_is_routed_by_what_is_in_force_now(crm, qa, smtp_server):
    message = send(crm, qa, CUSTOMER)
    configure(qa, smtp_server, from_domains="*")
    change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    answer(Scope(stage=qa), Choice.DELIVER, OPERATOR)
    deliver()
    assert reached(smtp_server) == []
    assert state(message) == (Status.CAPTURED, "")


def test_discarding_in_production_takes_its_name_and_ends_the_emails_in_the_persons_words(
    as_administrator, administrator, crm, production, smtp_server
):
    message = send(crm, production, CUSTOMER)
    configure(production, smtp_server, from_domains="*")
    url = f"{settings_url(production)}held/discard/"
    assert as_administrator.post(f"{settings_url(production)}held/", {"answer": "discard"})["Location"] == url
    for bad in ({}, {"reason": "Old test"}, {"reason": "Old test", "stage_name": "production"}, {"stage_name": "Production"}):
        refused = as_administrator.post(url, bad)
        assert (refused.status_code, "Nothing was discarded yet" in words(refused)) == (422, True)
    with pytest.raises(ValidationError, match="stage's name"):
        answer(Scope(stage=production), Choice.DISCARD, administrator, reason="Old test")
    assert state(message)[0] == Status.HELD
    as_administrator.post(url, {"reason": "Old test", "stage_name": production.name})
    assert state(message) == (Status.FAILED, "")
    assert Recipient.objects.get().last_reply == f"Discarded by {administrator.name}: Old test"
    assert AuditEvent.objects.filter(operation="Discard held emails", stage=production, actor=administrator).exists()
    deliver()
    assert reached(smtp_server) == []
    nothing = as_administrator.post(url, {"reason": "Old test", "stage_name": production.name})
    assert nothing.status_code == 422


def test_bad_answers_change_nothing(as_administrator, crm, qa, smtp_server):
    message = send(crm, qa, CUSTOMER)
    unconfigured = as_administrator.post(f"{settings_url(qa)}held/", {"answer": "deliver"}, follow=True)
    assert "No decision about held emails in QA is possible now" in message_text(unconfigured)
    configure(qa, smtp_server, from_domains="*")
    for bad in ("", "burn", "\0"):
        assert "Nothing was changed" in message_text(
            as_administrator.post(f"{settings_url(qa)}held/", {"answer": bad}, follow=True)
        )
    assert as_administrator.get("/management/configure/emails/nowhere/held/").status_code == 404
    assert as_administrator.get(f"/apps/nothing/configuration/emails/{qa.key}/held/discard/").status_code == 404
    assert state(message)[0] == Status.HELD


def test_an_answer_about_an_app_leaves_the_others(as_developer, crm, shop, qa, smtp_server):
    own, others = send(crm, qa, CUSTOMER), send(shop, qa, CUSTOMER)
    configure(qa, smtp_server, from_domains="*")
    assert as_developer.post(f"{settings_url(qa)}held/", {"answer": "deliver"}).status_code == 403
    assert as_developer.post(f"/apps/shop/configuration/emails/{qa.key}/held/", {"answer": "deliver"}).status_code == 403
    as_developer.post(f"/apps/crm/configuration/emails/{qa.key}/held/", {"answer": "deliver"})
    deliver()
    assert (state(own)[0], state(others)[0]) == (Status.SENT, Status.HELD)


def test_commands_keep_by_default_and_say_how_many(as_administrator, crm, qa, smtp_server, capsys):
    message = send(crm, qa, CUSTOMER)
    command = ["set_smtp", qa.key, "--server", "127.0.0.1", "--port", str(smtp_server.port), "--security", "none"]
    command += ["--sender-address", "no-reply@acme.example", "--from-domains", "*"]
    call_command(*command)
    text = capsys.readouterr().out
    assert "1 email is held" in text
    assert "1 address outside the test lists" in text
    deliver()
    assert state(message)[0] == Status.HELD
    call_command(*command, "--held", "keep")
    assert "Kept: 1 email" in capsys.readouterr().out
    assert state(message) == (Status.HELD, HoldReason.KEPT)
    assert AuditEvent.objects.get(operation="Keep held emails").actor_name.endswith("(manage.py set_smtp)")
    assert "1 email of QA kept" in words(as_administrator.get("/"))
    call_command(*command, "--held", "deliver")
    assert "Delivered now: 1 email" in capsys.readouterr().out
    deliver()
    assert reached(smtp_server) == [CUSTOMER]


def test_many_are_carried_out_by_the_worker(crm, qa, smtp_server, monkeypatch):
    """A page starts with a few, and a worker that dies in between loses no answer."""
    monkeypatch.setattr(states, "_MESSAGES_AT_ONCE", 2)
    for number in range(9):
        send(crm, qa, f"customer{number}@example.com")
    configure(qa, smtp_server, from_domains="*")
    answer(Scope(stage=qa), Choice.KEEP, OPERATOR)
    assert Message.objects.filter(hold_reason=HoldReason.KEPT).count() == 4
    sweep()
    assert Message.objects.filter(hold_reason=HoldReason.KEPT).count() == 9
    answer(Scope(stage=qa), Choice.DISCARD, OPERATOR)
    assert Message.objects.filter(status=Status.FAILED).count() == 4
    sweep()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.FAILED}
    assert not HeldAnswer.objects.exists()


def test_what_waited_too_long_for_a_server_asks_and_the_rest_goes(crm, shop, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    set_list(shop, qa, TESS)
    send(shop, qa, CUSTOMER)
    old, new = send(crm, qa, CUSTOMER), send(crm, qa, "new@example.com")
    long_ago = timezone.now() - timedelta(days=3)
    Message.objects.exclude(pk=new.pk).update(created=long_ago, due=long_ago)
    Recipient.objects.exclude(message=new).update(due=long_ago)
    StageBackoff.objects.update_or_create(stage=qa, defaults={"failures": 9, "since": long_ago, "retry_at": long_ago})
    backoff.reset(qa.pk)
    deliver()
    assert reached(smtp_server) == ["new@example.com", TESS]
    assert state(old) == (Status.HELD, HoldReason.WAITED_TOO_LONG)
    answer(Scope(stage=qa), Choice.DELIVER, OPERATOR)
    deliver()
    assert statuses(old) == {CUSTOMER: Status.SENT}


def test_what_waits_while_no_server_is_in_trouble_never_waits_too_long(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    old = send(crm, qa, CUSTOMER)
    long_ago = database_now() - timedelta(days=3)
    Message.objects.update(created=long_ago, due=long_ago)
    Recipient.objects.update(due=long_ago)
    deliver()
    assert state(old)[0] == Status.SENT
