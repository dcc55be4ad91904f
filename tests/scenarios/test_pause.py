"""A person pauses the emails of a stage, or of one app in it, and resumes them: what the stage's server really receives."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from delivery.worker import sweep
from organization.access import Scope
from organization.models import AuditEvent
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.holding.held_mail import held_mail
from outbox.holding.pauses import emails_leaving, pause, resume
from outbox.models import HoldReason, Message, Pause, Status
from tests.support.outbox import deliver, deliver_beside, hold_the_line, send, set_list, take
from tests.support.pages import message_text, words
from tests.support.portal import OPERATOR, configure, eventually
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)
CUSTOMER, TESS = "customer@example.com", "tess@acme.example"
PAUSED = (Status.HELD, HoldReason.PAUSED)


@pytest.fixture
def smtp_server():
    with SmtpServer(pipelining=True) as server:
        yield server


@pytest.fixture(autouse=True)
def _configured(qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")


def reached(server: SmtpServer) -> list[str]:
    return sorted(address for arrived in server.arrived for address in arrived.recipients)


def state(message: Message) -> tuple[str, str]:
    return Message.objects.values_list("status", "hold_reason").get(pk=message.pk)


def as_if_it_were_long() -> None:
    Pause.objects.update(since=timezone.now() - timedelta(minutes=16))


def test_mail_is_accepted_and_held_and_a_short_pause_ends_without_a_question(crm, qa, smtp_server):
    queued = send(crm, qa, "queued@example.com")
    pause(Scope(stage=qa), "Duplicates", OPERATOR)
    comes = send(crm, qa, "comes@example.com")
    deliver()
    assert (state(queued), state(comes), reached(smtp_server)) == (PAUSED, PAUSED, [])
    assert not resume(Scope(stage=qa), OPERATOR)
    deliver()
    assert reached(smtp_server) == ["comes@example.com", "queued@example.com"]


def test_a_long_pause_asks_but_about_test_mail(crm, shop, qa, smtp_server):
    set_list(shop, qa, TESS)
    pause(Scope(stage=qa), "Duplicates", OPERATOR)
    asks, test_mail = send(crm, qa, CUSTOMER), send(shop, qa, CUSTOMER)
    assert state(test_mail) == PAUSED
    as_if_it_were_long()
    assert not held_mail(Scope(stage=qa))
    question = resume(Scope(stage=qa), OPERATOR)
    assert (question.depth.messages, question.outside) == (1, {CUSTOMER})
    sweep()
    deliver()
    assert (state(asks), reached(smtp_server)) == (PAUSED, [TESS])


def test_a_short_pause_after_a_long_one_frees_nothing_that_still_asks(crm, qa, smtp_server):
    pause(Scope(stage=qa), "Duplicates", OPERATOR)
    asks = send(crm, qa, CUSTOMER)
    as_if_it_were_long()
    resume(Scope(stage=qa), OPERATOR)
    pause(Scope(stage=qa), "Again", OPERATOR)
    resume(Scope(stage=qa), OPERATOR)
    sweep()
    deliver()
    assert (state(asks), reached(smtp_server)) == (PAUSED, [])


@pytest.mark.parametrize(("held", "ends"), [("deliver", Status.SENT), ("keep", Status.HELD), ("discard", Status.FAILED)])
def test_the_commands_pause_and_resume(crm, qa, capsys, held, ends):
    with pytest.raises(CommandError, match="This field cannot be blank"):
        call_command("pause", qa.key, "--reason", " ")
    with pytest.raises(CommandError, match="isn't paused"):
        call_command("resume", qa.key)
    call_command("pause", qa.key, "--app", "crm", "--reason", "Duplicates")
    with pytest.raises(CommandError, match="paused already"):
        call_command("pause", qa.key, "--app", "crm", "--reason", "Duplicates")
    message = send(crm, qa, CUSTOMER)
    as_if_it_were_long()
    call_command("resume", qa.key, "--app", "crm", "--held", held, "--reason", "Old")
    assert "1 email that was held" in capsys.readouterr().out
    deliver()
    assert state(message)[0] == ends


def test_the_pause_of_an_app_leaves_the_others_and_outlives_that_of_its_stage(crm, shop, qa, smtp_server):
    pause(Scope(crm, qa), "Duplicates", OPERATOR)
    pause(Scope(stage=qa), "Server moves", OPERATOR)
    own, others = send(crm, qa, CUSTOMER), send(shop, qa, "shop@example.com")
    resume(Scope(stage=qa), OPERATOR)
    sweep()
    deliver()
    assert (state(own), state(others)[0], reached(smtp_server)) == (PAUSED, Status.SENT, ["shop@example.com"])


def test_a_stage_that_captures_goes_on_capturing(crm, qa):
    change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)
    pause(Scope(stage=qa), "Duplicates", OPERATOR)
    assert send(crm, qa, CUSTOMER).status == Status.CAPTURED


def test_nothing_new_leaves_after_a_pause_but_what_was_handed_over_before(crm, qa, smtp_server):
    on_the_wire, answer = hold_the_line(smtp_server)
    send(crm, qa, "first@example.com")
    worker = threading.Thread(target=deliver_beside)
    worker.start()
    try:
        assert on_the_wire.wait(60)
        for number in range(20):
            send(crm, qa, f"later{number}@example.com")
        pause(Scope(stage=qa), "Duplicates", OPERATOR)
        leaving = emails_leaving(Scope(stage=qa))
    finally:
        answer.set()
        worker.join(60)
    eventually(lambda: emails_leaving(Scope(stage=qa)) == 0)
    assert len(smtp_server.arrived) == leaving
    deliver()
    assert len(smtp_server.arrived) == leaving
    assert Message.objects.filter(hold_reason=HoldReason.PAUSED).count() == 21 - leaving


def test_hand_over_looks_at_the_pause_itself(crm, qa):
    """Also where nobody has held yet what was queued before."""
    message = send(crm, qa, CUSTOMER)
    Pause.objects.create(stage=qa, by="Ana", reason="Duplicates")
    assert take(qa, 10) == []
    assert state(message) == PAUSED


def test_pages_say_who_paused_and_why_and_resume_asks(as_administrator, administrator, crm, qa):
    url = f"/management/configure/emails/{qa.key}/"
    for bad in ({}, {"reason": " "}, {"reason": "x" * 201}, {"reason": "a\u2028b"}):
        assert as_administrator.post(f"{url}pause/", bad).status_code == 422
    assert as_administrator.get(f"{url}pause/end/").status_code == 405
    assert as_administrator.get("/management/configure/emails/nowhere/pause/").status_code == 404
    assert "isn't paused" in message_text(as_administrator.post(f"{url}pause/end/", follow=True))
    as_administrator.post(f"{url}pause/", {"reason": "Duplicate invoices"})
    assert as_administrator.post(f"{url}pause/", {"reason": "Again"}).status_code == 422
    for page in (url, f"/monitor/email-log/{qa.key}/", f"/apps/crm/configuration/emails/{qa.key}/", "/"):
        shown = words(as_administrator.get(page))
        assert f"Paused by {administrator} since" in shown, page
        assert "Duplicate invoices" in shown
    send(crm, qa, CUSTOMER)
    as_if_it_were_long()
    resumed = as_administrator.post(f"{url}pause/end/", follow=True)
    assert "1 email was held meanwhile" in message_text(resumed)
    assert "1 email is held" in words(resumed)
    assert list(AuditEvent.objects.filter(stage=qa, actor=administrator).values_list("operation", flat=True)) == [
        "Resume",
        "Pause",
    ]


def test_only_those_with_the_permission_pause(developer, viewer, crm, shop, qa):
    with pytest.raises(Exception, match="Manage Email Configurations"):
        pause(Scope(stage=qa), "Duplicates", developer)
    with pytest.raises(Exception, match="Manage Email Configurations"):
        pause(Scope(shop, qa), "Duplicates", developer)
    pause(Scope(crm, qa), "Duplicates", developer)
    with pytest.raises(Exception, match="Manage Email Configurations"):
        resume(Scope(crm, qa), viewer)
    assert Pause.objects.count() == 1
