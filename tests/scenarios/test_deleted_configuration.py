"""A stage whose email configuration is deleted: its mail is held, and asks when the stage is configured again."""

from __future__ import annotations

import threading

import pytest
from django.test import Client

from delivery.models import StageBackoff
from delivery.worker import sweep
from emailconfig.services import delete_smtp_settings, settings_of
from organization.access import Scope
from organization.models import Stage
from outbox.holding.held_mail import Choice
from outbox.holding.held_mail import answer as answer_held
from outbox.models import HoldReason, Message, Status
from tests.support.outbox import deliver, deliver_beside, now_due, send, statuses
from tests.support.portal import OPERATOR, configure, eventually
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

NOT_CONFIGURED = (Status.HELD, HoldReason.STAGE_NOT_CONFIGURED)


def delete_configuration(stage: Stage) -> None:
    settings = settings_of(stage)
    assert settings
    delete_smtp_settings(stage, OPERATOR, expected_version=settings.version)


def state(message: Message) -> tuple[str, str]:
    return Message.objects.values_list("status", "hold_reason").get(pk=message.pk)


def test_mail_that_waits_and_mail_that_comes_is_held_and_goes_when_a_person_says_so_with_settings_again(
    as_administrator: Client, crm, qa, configured, smtp_server
):
    smtp_server.rcpt = lambda _: "451 4.7.1 later"
    put_off = send(crm, qa, "late@example.com")
    deliver()
    queued = send(crm, qa, "queued@example.com")
    smtp_server.rcpt = lambda _: None
    now_due()
    answer = as_administrator.post(f"/management/configure/emails/{qa.key}/delete/", {"version": configured.version})
    assert answer.status_code == 302
    comes = send(crm, qa, "comes@example.com")
    deliver()
    assert [state(message) for message in (put_off, queued, comes)] == [NOT_CONFIGURED] * 3
    assert [set(statuses(message).values()) for message in (put_off, queued, comes)] == [{Status.HELD}] * 3
    page = as_administrator.get(f"/monitor/email-log/{qa.key}/{comes.pk}/").content.decode()
    assert "The stage has no SMTP settings" in page
    sweep()
    deliver()
    assert smtp_server.arrived == []
    with SmtpServer() as other:
        configure(qa, other, from_domains="*")
        deliver()
        assert other.arrived == []
        answer_held(Scope(stage=qa), Choice.DELIVER, OPERATOR)
        deliver()
        assert other.recipients == {"late@example.com", "queued@example.com", "comes@example.com"}
        assert len(other.arrived) == 3
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}


def test_trouble_with_the_server_goes_with_its_settings(as_administrator, crm, qa, configured):
    configure(qa, server="127.0.0.1", port=1)
    message = send(crm, qa)
    deliver()
    assert StageBackoff.objects.get(stage=qa).failures == 1
    delete_configuration(qa)
    assert "Problem with the SMTP server" not in as_administrator.get(f"/management/configure/emails/{qa.key}/").content.decode()
    deliver()
    assert state(message) == NOT_CONFIGURED


def while_a_mail_is_on_the_wire(server: SmtpServer, crm, qa, act) -> None:
    """`act` runs while a worker sends a first message to `server`. Then five more messages are accepted."""
    on_the_wire, finish = threading.Event(), threading.Event()

    def hold_the_line(_):
        on_the_wire.set()
        finish.wait(60)

    server.data = hold_the_line
    send(crm, qa, "first@example.com")
    worker = threading.Thread(target=deliver_beside)
    worker.start()
    try:
        assert on_the_wire.wait(60)
        act()
        for number in range(5):
            send(crm, qa, f"later{number}@example.com")
    finally:
        finish.set()
        worker.join(60)
    eventually(lambda: len(server.arrived) >= 1)


def test_no_open_connection_goes_on_with_settings_that_were_deleted(crm, qa, configured, smtp_server):
    while_a_mail_is_on_the_wire(smtp_server, crm, qa, lambda: delete_configuration(qa))
    assert smtp_server.recipients == {"first@example.com"}
    deliver()
    assert Message.objects.filter(status=Status.HELD).count() == 5


def test_no_open_connection_mistakes_settings_that_were_created_again_for_its_own(crm, qa, configured, smtp_server):
    with SmtpServer() as other:

        def make_anew() -> None:
            delete_configuration(qa)
            configure(qa, other, from_domains="*")

        while_a_mail_is_on_the_wire(smtp_server, crm, qa, make_anew)
        deliver()
        assert smtp_server.recipients == {"first@example.com"}
        assert len(other.recipients) == 5
