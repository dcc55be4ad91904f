"""Delivery over real SMTP: what arrives, what the server's answers make of each recipient, and whom trouble stops."""

from __future__ import annotations

import base64
import threading
import time

import pytest
from django.db import connection

import emailconfig.connection.setup
from delivery.models import StageBackoff
from delivery.retry_schedule import PAUSES
from emailconfig.services import settings_of
from organization.access import Scope
from outbox.holding.held_mail import Choice, answer
from outbox.models import HoldReason, Message, Recipient, Status
from testlists.services import in_flight_count, wait_until_none_in_flight
from tests.support.outbox import deliver, deliver_beside, now_due, outcomes, send, set_list, statuses
from tests.support.portal import OPERATOR, configure, mail
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_mail_arrives_and_the_log_says_what_the_server_said(crm, qa, configured, smtp_server):
    message = send(crm, qa, "customer@example.com", "boss@example.com")
    deliver()
    (arrived,) = smtp_server.arrived
    assert arrived.recipients == ["customer@example.com", "boss@example.com"]
    assert arrived.sender == "crm@acme.example"
    assert arrived.mail["Message-ID"] == message.message_id
    message.refresh_from_db()
    assert message.status == Status.SENT
    attempt = message.attempts.first()
    assert (attempt.outcome, attempt.code, attempt.reply) == ("sent", 250, "250 Ok: kept")
    assert attempt.settings_version == configured.version
    assert attempt.server == f"127.0.0.1:{smtp_server.port}"


def test_many_mails_share_few_connections(crm, qa, configured, smtp_server):
    for _ in range(60):
        send(crm, qa)
    deliver()
    assert len(smtp_server.arrived) == 60
    assert smtp_server.connections <= configured.connections + 1
    assert set(Message.objects.values_list("status", "owner")) == {("sent", "")}


def test_test_mail_reaches_the_list_alone(crm, qa, configured, smtp_server):
    set_list(crm, qa, "ana@acme.example", "ben@acme.example", tag_subject=True)
    send(crm, qa, "customer@example.com", "cc@example.com", "bcc@example.com")
    deliver()
    (arrived,) = smtp_server.arrived
    assert arrived.recipients == ["ana@acme.example", "ben@acme.example"]
    assert arrived.mail["To"] == "ana@acme.example, ben@acme.example"
    assert arrived.mail["Subject"] == "[QA] Hello"
    assert arrived.mail["X-Original-To"] == "customer@example.com"


def test_a_list_that_becomes_active_catches_what_is_queued(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    set_list(crm, qa, "ana@acme.example")
    deliver()
    assert smtp_server.recipients == {"ana@acme.example"}
    message.refresh_from_db()
    assert message.route == "test_list"
    assert "became Active after" in message.notes[0]


def test_switching_a_list_off_never_frees_its_mail(crm, qa, configured, smtp_server):
    set_list(crm, qa, "ana@acme.example")
    send(crm, qa)
    set_list(crm, qa, active=False)
    deliver()
    assert smtp_server.recipients == {"ana@acme.example"}
    (arrived,) = smtp_server.arrived
    assert arrived.mail["To"] == "ana@acme.example"


def test_a_list_that_was_active_for_a_moment_has_caught_what_was_queued(crm, qa, configured, smtp_server):
    send(crm, qa)
    set_list(crm, qa, "ana@acme.example")
    set_list(crm, qa, "ana@acme.example", active=False)
    real = send(crm, qa, "later@example.com")
    deliver()
    assert smtp_server.recipients == {"ana@acme.example", "later@example.com"}
    assert statuses(real) == {"later@example.com": "sent"}


def test_a_person_removed_from_an_active_list_gets_nothing_more(crm, qa, configured, smtp_server):
    set_list(crm, qa, "ana@acme.example", "ben@acme.example")
    send(crm, qa)
    set_list(crm, qa, "ben@acme.example", "cleo@acme.example")
    deliver()
    assert smtp_server.recipients == {"ben@acme.example", "cleo@acme.example"}


def test_a_person_added_to_an_active_list_gets_what_is_still_queued_too(crm, qa, configured, smtp_server):
    set_list(crm, qa, "ana@acme.example")
    message = send(crm, qa)
    set_list(crm, qa, "ana@acme.example", "ben@acme.example")
    deliver()
    assert statuses(message) == {"ana@acme.example": "sent", "ben@acme.example": "sent"}
    assert len(smtp_server.arrived) == 1


def test_a_mail_caught_between_two_tries_names_no_real_recipient_any_more(crm, qa, configured, smtp_server):
    smtp_server.rcpt = lambda address: "450 busy" if address == "late@example.com" else None
    message = send(crm, qa, "early@example.com", "late@example.com")
    deliver()
    set_list(crm, qa, "ana@acme.example")
    smtp_server.rcpt = lambda address: None
    now_due()
    deliver()
    first, second = smtp_server.arrived
    assert first.recipients == ["early@example.com"]
    assert second.recipients == ["ana@acme.example"]
    assert second.mail["To"] == "ana@acme.example"
    assert statuses(message) == {"early@example.com": "sent", "ana@acme.example": "sent"}


def test_an_active_list_that_was_emptied_holds_emails_until_a_person_is_on_it(crm, qa, configured, smtp_server, viewer):
    set_list(crm, qa, viewer.email)
    message = send(crm, qa)
    viewer.is_active = False
    viewer.save()
    deliver()
    message.refresh_from_db()
    assert (message.status, message.hold_reason, smtp_server.arrived) == (Status.HELD, HoldReason.TEST_LIST_EMPTY, [])
    set_list(crm, qa, "ana@acme.example")
    deliver()
    assert smtp_server.recipients == {"ana@acme.example"}


def test_each_recipient_ends_by_its_own_answer(crm, qa, configured, smtp_server):
    replies = {"no@example.com": "550 5.1.1 no such user", "later@example.com": "451 4.7.1 greylisted"}
    smtp_server.rcpt = replies.get
    message = send(crm, qa, "yes@example.com", "no@example.com", "later@example.com")
    deliver()
    assert statuses(message) == {"yes@example.com": "sent", "no@example.com": "failed", "later@example.com": "deferred"}
    assert message.recipients.get(address="no@example.com").last_reply == "550 5.1.1 no such user"
    message.refresh_from_db()
    assert message.status == Status.DEFERRED
    replies.clear()
    now_due()
    deliver()
    message.refresh_from_db()
    assert statuses(message) == {"yes@example.com": "sent", "no@example.com": "failed", "later@example.com": "sent"}
    assert message.status == Status.FAILED
    assert [arrival.recipients for arrival in smtp_server.arrived] == [["yes@example.com"], ["later@example.com"]]


@pytest.mark.parametrize(
    ("where", "reply", "status"),
    [
        ("mail", "550 5.7.1 sender refused", "failed"),
        ("mail", "451 4.3.0 later", "deferred"),
        ("data", "554 5.6.0 refused", "failed"),
        ("data", "452 4.3.1 full", "deferred"),
        ("rcpt", "550 5.1.1 unknown", "failed"),
    ],
)
def test_a_refused_mail_does_not_stop_the_next(crm, qa, configured, smtp_server, where, reply, status):
    answers = iter([reply])
    setattr(smtp_server, where, lambda _: next(answers, None))
    configured.connections = 1
    configure(qa, smtp_server, from_domains="*", connections=1)
    first, second = send(crm, qa), send(crm, qa)
    deliver()
    assert statuses(first) == {"customer@example.com": status}
    assert statuses(second) == {"customer@example.com": "sent"}
    assert smtp_server.connections == 1


def test_a_lost_final_answer_is_an_unknown_outcome_and_goes_again_with_the_same_message_id(crm, qa, configured, smtp_server):
    cut = threading.Event()

    def drop(arrived):
        if not cut.is_set():
            cut.set()
            smtp_server.arrived.append(arrived)
            return "421 closing before you know"
        return None

    smtp_server.data = drop
    message = send(crm, qa)
    deliver()
    now_due()
    deliver()
    assert outcomes(message)[-1] == ("customer@example.com", "sent")
    assert len({arrival.mail["Message-ID"] for arrival in smtp_server.arrived}) == 1


def test_a_server_that_repeats_the_password_in_its_refusal_gives_nothing_away(crm, qa):
    def repeat(login: str, password: str) -> str:
        plain = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        return f"535 5.7.8 refused: {plain} {base64.b64encode(password.encode()).decode()} {password}"

    with SmtpServer(users={"portal": "right"}, refusal=repeat) as server:
        configure(qa, server, authentication="basic", username="portal", new_secret="hunter2hunter2")
        send(crm, qa)
        deliver()
    assert StageBackoff.objects.get(stage=qa).evidence == "535 5.7.8 refused: •••• •••• ••••"


def test_a_password_outside_ascii_works(crm, qa):
    with SmtpServer(users={"portal": "pässwörd €"}) as server:
        configure(qa, server, authentication="basic", username="portal", new_secret="pässwörd €")
        send(crm, qa)
        deliver()
        assert server.arrived[0].login == "portal"


def test_saved_settings_hold_for_the_next_mail_without_a_restart(crm, qa, configured, smtp_server):
    send(crm, qa)
    deliver()
    with SmtpServer() as other:
        configure(qa, other, from_domains="*")
        message = send(crm, qa)
        deliver()
        assert len(other.arrived) == 1
        assert message.attempts.get().settings_version == settings_of(qa).version


@pytest.mark.parametrize(
    ("sender", "envelope", "allowed", "shown", "reply_to"),
    [
        ("crm@acme.example", "crm@acme.example", "", "crm@acme.example", None),
        ("Boss <boss@other.example>", "no-reply@acme.example", "", '"Acme" <no-reply@acme.example>', "Boss <boss@other.example>"),
        ("boss@other.example", "boss@other.example", "other.example", "boss@other.example", None),
        ("boss@other.example", "boss@other.example", "*", "boss@other.example", None),
    ],
)
def test_the_stages_sender_replaces_the_apps_own_where_that_is_not_allowed(
    crm, qa, smtp_server, sender, envelope, allowed, shown, reply_to
):
    configure(qa, smtp_server, from_domains=allowed)
    message = send(crm, qa, content=mail(sender=sender), sender=sender.strip(">").rpartition("<")[2])
    deliver()
    (arrived,) = smtp_server.arrived
    assert (arrived.sender, arrived.mail["From"], arrived.mail["Reply-To"]) == (envelope, shown, reply_to)
    message.refresh_from_db()
    assert bool(message.notes) is (reply_to is not None)


def test_the_null_sender_stays_null(crm, qa, smtp_server):
    configure(qa, smtp_server)
    send(crm, qa, sender="")
    deliver()
    assert smtp_server.arrived[0].sender == ""


def test_a_mail_that_needs_smtputf8_fails_in_words_where_the_server_lacks_it(crm, qa):
    with SmtpServer(smtputf8=False) as server:
        configure(qa, server, from_domains="*")
        message, other = send(crm, qa, "jörg@example.com"), send(crm, qa, "ana@bücher.example")
        deliver()
        assert statuses(message) == {"jörg@example.com": "failed"}
        assert message.attempts.get().reply.startswith("5.6.7")
        assert statuses(other) == {"ana@bücher.example": "sent"}
        assert server.recipients == {"ana@xn--bcher-kva.example"}


def test_a_mail_that_needs_smtputf8_arrives_where_the_server_has_it(crm, qa, configured, smtp_server):
    send(crm, qa, "jörg@example.com")
    deliver()
    assert smtp_server.recipients == {"jörg@example.com"}


@pytest.mark.parametrize(
    "body", [b".\r\n", b"..\r\n", b"a\r\n.\r\nb\r\n", b"", b"no line end", b".no line end", b"\xff\x00\r\n.."]
)
def test_the_body_arrives_byte_for_byte(crm, qa, configured, smtp_server, body):
    send(crm, qa, content=b"From: crm@acme.example\r\n\r\n" + body)
    deliver()
    arrived = smtp_server.arrived[0].content.partition(b"\r\n\r\n")[2]
    assert arrived in (body, body + b"\r\n")


def test_activating_waits_for_mail_on_the_wire_and_says_how_many(crm, qa, configured, smtp_server):
    on_the_wire, finish = threading.Event(), threading.Event()

    def hold_the_line(arrived):
        on_the_wire.set()
        finish.wait(60)

    smtp_server.data = hold_the_line
    send(crm, qa)
    worker = threading.Thread(target=deliver_beside)
    worker.start()
    assert on_the_wire.wait(60)
    activated = set_list(crm, qa, "ana@acme.example")
    assert in_flight_count(activated) == 1
    assert wait_until_none_in_flight(activated, seconds=0.3) == 1
    finish.set()
    assert wait_until_none_in_flight(activated, seconds=60) == 0
    worker.join(60)
    send(crm, qa)
    deliver()
    assert smtp_server.arrived[-1].recipients == ["ana@acme.example"]


def test_a_stage_whose_settings_are_gone_holds_its_mail(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    configured.delete()
    deliver()
    message.refresh_from_db()
    assert (message.status, message.hold_reason) == (Status.HELD, HoldReason.STAGE_NOT_CONFIGURED)
    configure(qa, smtp_server, from_domains="*")
    answer(Scope(stage=qa), Choice.DELIVER, OPERATOR)
    deliver()
    assert len(smtp_server.arrived) == 1


@pytest.mark.requires_postgresql  # SQLite has one writer at a time
def test_mail_accepted_while_held_mail_is_released_stays_whole(crm, production, smtp_server):
    """Saving the settings changes recipients and messages one after the other. A message in between must not end half held."""
    send(crm, production)

    def accept_one_more():
        send(crm, production, "between@example.com")
        connection.close()

    def between(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.startswith('UPDATE "outbox_recipient"') and not threading.current_thread().name.startswith("other"):
            other = threading.Thread(target=accept_one_more, name="other")
            other.start()
            other.join(60)
        return result

    with connection.execute_wrapper(between):
        configure(production, smtp_server, from_domains="*")
        answer(Scope(stage=production), Choice.DELIVER, OPERATOR)
    deliver()
    assert smtp_server.recipients == {"customer@example.com", "between@example.com"}


@pytest.mark.parametrize("where", ["mail", "rcpt"])
def test_an_answer_that_fits_no_question_is_not_taken_for_delivery(crm, qa, configured, smtp_server, where):
    setattr(smtp_server, where, lambda _: "299 whatever")
    message = send(crm, qa)
    deliver()
    assert statuses(message) == {"customer@example.com": "deferred"}
    setattr(smtp_server, where, lambda _: None)
    now_due()
    deliver()
    assert statuses(message) == {"customer@example.com": "sent"}


def test_a_mail_that_cannot_be_sent_is_finished_also_when_the_connection_breaks_over_the_next(crm, qa):
    replies = iter(["421 closing"])
    with SmtpServer(smtputf8=False, rcpt=lambda _: next(replies, None)) as server:
        configure(qa, server, from_domains="*", connections=1)
        impossible, broken = send(crm, qa, "jörg@example.com"), send(crm, qa)
        deliver()
        assert statuses(impossible) == {"jörg@example.com": "failed"}
        now_due()
        deliver()
        assert statuses(broken) == {"customer@example.com": "sent"}


def test_a_server_that_takes_its_time_over_the_content_gets_the_mail_once(crm, qa, configured, smtp_server, monkeypatch):
    monkeypatch.setattr(emailconfig.connection.setup, "REPLY_SECONDS", 1.0)
    smtp_server.data = lambda _: time.sleep(1.5)
    message = send(crm, qa)
    deliver()
    assert outcomes(message) == [("customer@example.com", "sent")]


def test_a_nul_in_the_senders_name_spoils_nothing(crm, qa, smtp_server):
    configure(qa, smtp_server)
    message = send(crm, qa, content=b"From: a\x00b@other.example\r\n\r\nHi\r\n")
    deliver()
    assert statuses(message) == {"customer@example.com": "sent"}
    message.refresh_from_db()
    assert "left as no-reply@acme.example" in message.notes[0]


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_large_mail_arrives_byte_for_byte(crm, qa, configured, smtp_server, size):
    body = (b".\r\n..\r\n" + b"x" * 70 + b"\r\n") * (size // 80)
    send(crm, qa, content=b"From: crm@acme.example\r\n\r\n" + body)
    deliver()
    assert smtp_server.arrived[0].content.partition(b"\r\n\r\n")[2] == body


def test_the_last_try_fails_with_the_servers_words(crm, qa, configured, smtp_server):
    smtp_server.rcpt = lambda _: "450 4.2.1 mailbox busy"
    message = send(crm, qa)
    Recipient.objects.update(tries=len(PAUSES))
    deliver()
    recipient = message.recipients.get()
    assert recipient.status == Status.FAILED
    assert "450 4.2.1 mailbox busy" in recipient.last_reply
