"""Where did email 42 go? One log line for its acceptance, and one for each outcome."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.db import transaction

from delivery import leases
from delivery.worker import sweep
from emailconfig.services import delete_smtp_settings
from gateway.batching import ReceivedMessage, store
from organization.access import Scope
from organization.credentials import create_credential
from outbox import actions, event_log
from outbox.exceptions import SubmissionRefused
from outbox.holding.held_mail import answer
from outbox.models import HeldAnswer, Message, Source
from outbox.states import hold_unconfigured
from outbox.submission import Envelope, submit
from testlists.models import TestList
from tests.support.outbox import deliver, leases_run_out, now_due, send, take
from tests.support.portal import OPERATOR, configure, mail
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _at_info(caplog):
    caplog.set_level(logging.INFO, "outbox.event_log")


@pytest.fixture
def smtp_server():
    with SmtpServer() as server:
        yield server


@pytest.fixture
def lines(caplog):
    """The lines so far, each without its time."""
    return lambda: [record.getMessage().split("] ", 1)[1] for record in caplog.records if record.name == event_log.__name__]


def test_an_accepted_email_says_who_handed_it_in_and_from_where(crm, qa, lines):
    configure(qa)
    credential = create_credential(crm, qa, OPERATOR).credential
    content = b"Message-ID: <42@acme.example>\r\nSubject: For your eyes only\r\n\r\nHi\r\n"
    (accepted,) = store([ReceivedMessage(credential, Envelope("crm@acme.example", ["ana@example.com"]), content, "10.0.0.7")])
    (line,) = lines()
    assert line.startswith("email_accepted")
    for part in (
        f"id={accepted.pk} ", "message_id=<42@acme.example>", "app=crm", "stage=qa", "source=gateway", "client=10.0.0.7",
        f"credential={credential.username}", "status=queued", "route=recipients", "recipients=['a•••@example.com']",
    ):  # fmt: skip
        assert part in line
    assert "eyes" not in line


def test_addresses_are_named_where_the_operator_says_so(crm, qa, lines, settings):
    settings.LOG_ADDRESSES = True
    send(crm, qa, "ana@EXAMPLE.com", "bob@example.com")
    assert "recipient_count=2 recipients=['ana@example.com', 'bob@example.com']" in lines()[0]


def test_an_email_is_logged_when_it_is_committed_and_never_after_a_rollback(crm, qa, lines):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        send(crm, qa)
        raise ZeroDivisionError
    assert lines() == []
    with transaction.atomic():
        send(crm, qa)
        assert lines() == []
    assert len(lines()) == 1


def test_a_refused_email_is_logged_with_the_reason_and_without_addresses(crm, qa, lines):
    with pytest.raises(SubmissionRefused):
        submit(crm, qa, Envelope("crm@acme.example", ["secret.person@example..com"]), mail(), via=Source.COMMAND)
    (line,) = lines()
    assert line.startswith("email_refused")
    assert "code=553" in line
    assert "step=submit" in line
    assert "secret.person" not in line


def test_each_answer_of_the_server_is_a_line(crm, qa, smtp_server, lines):
    answers = {"gone@example.com": "550 5.1.1 gone: no such user gone@example.com", "later@example.com": "450 4.2.1 not now"}
    smtp_server.rcpt = answers.get
    configure(qa, smtp_server, from_domains="*")
    message = send(crm, qa, "ana@example.com", "bob@example.com", "gone@example.com", "later@example.com")
    deliver()
    _, *outcomes = lines()
    assert [line.split()[0] for line in outcomes] == ["email_failed", "email_deferred", "email_delivered"]
    failed, deferred, delivered = outcomes
    for line in outcomes:
        assert f"id={message.pk} " in line
        assert f"message_id={message.message_id}" in line
        assert f"server=127.0.0.1:{smtp_server.port}" in line
        assert "age_seconds=" in line
        assert "seconds=" in line
        assert "tries=1" in line
    assert "code=250" in delivered
    assert "recipient_count=2" in delivered
    assert "code=550" in failed
    assert "reply='550 5.1.1 g•••: no such user g•••@example.com'" in failed
    assert "code=450" in deferred


def test_an_outcome_names_the_credential_that_handed_the_email_in(crm, qa, smtp_server, lines):
    configure(qa, smtp_server, from_domains="*")
    credential = create_credential(crm, qa, OPERATOR).credential
    store([ReceivedMessage(credential, Envelope("crm@acme.example", ["ana@example.com"]), mail(), "10.0.0.7")])
    deliver()
    assert [f"credential={credential.username}" in line for line in lines()] == [True, True]


def test_a_recipient_that_was_tried_for_long_enough_has_failed(crm, qa, smtp_server, lines, monkeypatch):
    smtp_server.rcpt = lambda _: "450 4.2.1 not now"
    configure(qa, smtp_server, from_domains="*")
    monkeypatch.setattr("delivery.retry_schedule.PAUSES", [timedelta(seconds=1)])
    send(crm, qa)
    deliver()
    now_due()
    deliver()
    assert [line.split()[0] for line in lines()] == ["email_accepted", "email_deferred", "email_failed"]


def test_what_a_worker_that_died_left_and_what_a_person_ends_are_told_too(crm, qa, smtp_server, lines):
    configure(qa, smtp_server, from_domains="*")
    message = send(crm, qa)
    take(qa, 1)
    leases_run_out()
    sweep()
    actions.cancel(Message.objects.get(pk=message.pk), OPERATOR)
    _, unknown, cancelled = lines()
    assert unknown.startswith("email_deferred")
    assert leases._DIED in unknown
    assert cancelled.startswith("email_failed")
    assert "Cancelled by" in cancelled


def test_held_mail_is_told_with_its_reason(crm, qa, smtp_server, lines):
    configure(qa, smtp_server, from_domains="*")
    first, second = send(crm, qa), send(crm, qa)
    delete_smtp_settings(qa, OPERATOR, expected_version=1)
    hold_unconfigured(qa.pk)
    test_list = TestList.objects.get(app=crm, stage=qa)  # as no entry point lets it be: nobody is on it
    test_list.active, test_list.version, test_list.active_version = True, 2, 2
    test_list.save()
    configure(qa, smtp_server, from_domains="*")
    answer(Scope(stage=qa), HeldAnswer.Choice.DELIVER, OPERATOR)
    deliver()
    assert [line.split()[0] for line in lines()] == ["email_accepted"] * 2 + ["email_held"] * 4
    for line, message in zip(lines()[2:], (first, second) * 2, strict=True):
        assert f"id={message.pk} stage=qa" in line
    assert "hold_reason=stage_not_configured" in lines()[2]
    assert "hold_reason=test_list_empty" in lines()[5]
