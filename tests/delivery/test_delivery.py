"""Delivery over real SMTP: what arrives, what the server's answers make of each recipient, and whom trouble stops."""

from __future__ import annotations

import base64
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import emailconfig.connection.opening
from delivery.backoff import note_trouble, pause_after
from delivery.config import DeliveryConfig
from delivery.connection_slots import forget, register
from delivery.connection_slots import take as take_places
from delivery.leases import recover_abandoned
from delivery.models import StageQueue, Worker
from delivery.outcomes import ask_held, record
from delivery.retry_schedule import PAUSES, next_pause
from delivery.values import Finished, Outcome
from emailconfig.connection import ConnectionTrouble
from emailconfig.services import settings_of
from outbox.models import Attempt, HoldReason, Message, Recipient, Status
from outbox.states import release_what_waits
from testlists.services import mails_leaving, wait_until_nothing_leaves
from testlists.signals import test_list_saved
from tests.support.outbox import (
    deliver,
    deliver_beside,
    leases_run_out,
    now_due,
    outcomes,
    report,
    send,
    set_list,
    statuses,
    take,
)
from tests.support.portal import configure, eventually, mail
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


def test_the_watch_over_leases_ends_no_connection_that_is_in_order(crm, qa, configured, smtp_server):
    for _ in range(100):
        send(crm, qa)
    deliver(DeliveryConfig(watch_seconds=0.0))
    assert not Attempt.objects.exclude(outcome="sent").values_list("reply", "step")
    assert Attempt.objects.count() == 100
    assert smtp_server.connections <= configured.connections + 1


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


def test_somebody_taken_off_an_active_list_gets_nothing_more(crm, qa, configured, smtp_server):
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


def test_an_active_list_that_was_emptied_holds_until_somebody_is_on_it(crm, qa, configured, smtp_server, viewer):
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
    assert [one.recipients for one in smtp_server.arrived] == [["yes@example.com"], ["later@example.com"]]


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
    assert len({one.mail["Message-ID"] for one in smtp_server.arrived}) == 1


def test_a_server_that_cannot_be_reached_backs_off_the_stage_and_costs_the_mail_no_try(crm, qa, closed_port):
    configure(qa, port=closed_port)
    message = send(crm, qa)
    deliver()
    message.refresh_from_db()
    assert (message.status, message.owner) == (Status.QUEUED, "")
    assert not message.attempts.exists()
    queue = StageQueue.objects.get(stage=qa)
    assert queue.code == "connection_refused"
    assert not queue.paused
    with SmtpServer() as server:
        configure(qa, server)  # saving starts at once
        deliver()
        assert len(server.arrived) == 1
    assert not StageQueue.objects.filter(failures__gt=0).exists()


def test_refused_sign_in_pauses_the_stage_after_one_try_for_all_its_mail(crm, qa):
    with SmtpServer(users={"portal": "right"}) as server:
        configure(qa, server, authentication="basic", username="portal", new_secret="wrong", connections=1)
        for _ in range(5):
            send(crm, qa)
        deliver()
        assert server.logins == [("portal", "wrong")]
        assert StageQueue.objects.get(stage=qa).paused
        configure(qa, server, new_secret="right")
        deliver()
        assert len(server.arrived) == 5


def test_a_server_that_repeats_the_password_in_its_refusal_gives_nothing_away(crm, qa):
    def repeat(login: str, password: str) -> str:
        plain = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
        return f"535 5.7.8 refused: {plain} {base64.b64encode(password.encode()).decode()} {password}"

    with SmtpServer(users={"portal": "right"}, refusal=repeat) as server:
        configure(qa, server, authentication="basic", username="portal", new_secret="hunter2hunter2")
        send(crm, qa)
        deliver()
    assert StageQueue.objects.get(stage=qa).evidence == "535 5.7.8 refused: •••• •••• ••••"


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
def test_the_stages_sender_stands_in_where_the_apps_own_is_not_allowed(
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
    assert mails_leaving(activated) == 1
    assert wait_until_nothing_leaves(activated, seconds=0.3) == 1
    finish.set()
    assert wait_until_nothing_leaves(activated, seconds=60) == 0
    worker.join(60)
    send(crm, qa)
    deliver()
    assert smtp_server.arrived[-1].recipients == ["ana@acme.example"]


def test_a_worker_that_died_during_hand_over_leaves_an_unknown_outcome_and_the_mail_goes_again(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    assert [one.pk for one in take(qa, 10, owner="dead")] == [message.pk]
    deliver()
    assert smtp_server.arrived == []  # still under lease
    leases_run_out()
    deliver()
    assert len(smtp_server.arrived) == 1
    assert outcomes(message) == [("customer@example.com", "unknown"), ("customer@example.com", "sent")]


def test_a_mail_that_kills_its_workers_ends_as_failed(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    for death in range(1, 6):
        now_due()
        assert take(qa, 10, owner=f"dead {death}")
        leases_run_out()
        assert recover_abandoned() == 1
        recipient = message.recipients.get()
        assert (recipient.tries, recipient.due > timezone.now()) == (min(death, 4), 1 < death < 5)
    message.refresh_from_db()
    assert message.status == Status.FAILED
    assert recipient.last_reply.startswith("Given up: 5 workers stopped")


def test_a_stalled_worker_can_neither_hand_over_nor_overwrite(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    (taken,) = take(qa, 10, owner="stalled")
    leases_run_out()
    deliver()
    report(taken, Outcome(taken.recipients[0], Attempt.Outcome.FAILED, "DATA", 550, "550 too late"))
    assert take(qa, 10, owner="stalled") == []
    message.refresh_from_db()
    assert message.status == Status.SENT


def test_an_outcome_of_one_hand_over_is_not_taken_for_that_of_a_later_one(crm, qa, configured):
    """Also by the same worker: each turn has a name of its own."""
    message = send(crm, qa)
    (first,) = take(qa, 10, owner="worker-1")
    leases_run_out()
    recover_abandoned()
    (second,) = take(qa, 10, owner="worker-2")
    report(first, Outcome(first.recipients[0], Attempt.Outcome.FAILED, "DATA", 550, "550 too late"))
    assert statuses(message) == {"customer@example.com": "sending"}
    report(second, Outcome(second.recipients[0], Attempt.Outcome.SENT, "content", 250, "250 Ok"))
    assert statuses(message) == {"customer@example.com": "sent"}


def test_two_workers_never_take_the_same_mail(crm, qa, configured):
    for _ in range(10):
        send(crm, qa)
    first, second = take(qa, 6, owner="first"), take(qa, 6, owner="second")
    assert len(first) == 6
    assert len(second) == 4
    assert not {one.pk for one in first} & {one.pk for one in second}


def test_mail_that_is_held_does_not_stop_the_mail_behind_it(crm, shop, qa, configured, smtp_server, viewer):
    set_list(crm, qa, viewer.email)
    held = [send(crm, qa) for _ in range(5)]
    viewer.is_active = False
    viewer.save()
    fine = [send(shop, qa) for _ in range(5)]
    deliver()
    assert set(Message.objects.filter(app=shop).values_list("status", flat=True)) == {Status.SENT}
    assert len(smtp_server.arrived) == len(fine)
    assert set(Message.objects.filter(app=crm).values_list("hold_reason", flat=True)) == {HoldReason.TEST_LIST_EMPTY}
    assert not Message.objects.filter(pk__in=[one.pk for one in held]).exclude(lease_until=None).exists()


def test_a_list_that_is_being_saved_keeps_its_mail_and_no_other(crm, shop, qa, configured, smtp_server):
    if connection.vendor != "postgresql":
        return  # on SQLite whoever saves is alone
    real, saving, saved = send(crm, qa), threading.Event(), threading.Event()
    other = send(shop, qa)

    def save_slowly(test_list, **_):
        saving.set()
        saved.wait(60)

    def save():
        set_list(crm, qa, "ana@acme.example")
        connection.close()

    test_list_saved.connect(save_slowly)
    try:
        editor = threading.Thread(target=save)
        editor.start()
        assert saving.wait(60)
        assert [one.pk for one in take(qa, 10, owner="worker")] == [other.pk]
    finally:
        saved.set()
        editor.join(60)
        test_list_saved.disconnect(save_slowly)
    (taken,) = take(qa, 10, owner="worker")
    assert (taken.pk, [one.address for one in taken.recipients]) == (real.pk, ["ana@acme.example"])


def test_a_stage_whose_settings_are_gone_holds_its_mail(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    configured.delete()
    deliver()
    message.refresh_from_db()
    assert (message.status, message.hold_reason) == (Status.HELD, HoldReason.STAGE_NOT_CONFIGURED)
    configure(qa, smtp_server, from_domains="*")
    deliver()
    assert len(smtp_server.arrived) == 1


def test_mail_accepted_while_held_mail_is_released_stays_whole(crm, production, smtp_server):
    """Saving the settings changes recipients and mails one after the other: what comes in between must not end half held."""
    if connection.vendor != "postgresql":
        return  # on SQLite whoever saves is alone
    send(crm, production)

    def accept_one_more():
        send(crm, production, "between@example.com")
        connection.close()

    def between(execute, sql, params, many, context):
        found = execute(sql, params, many, context)
        if sql.startswith('UPDATE "outbox_recipient"') and not threading.current_thread().name.startswith("other"):
            other = threading.Thread(target=accept_one_more, name="other")
            other.start()
            other.join(60)
        return found

    with connection.execute_wrapper(between):
        configure(production, smtp_server, from_domains="*")
    release_what_waits()
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
    monkeypatch.setattr(emailconfig.connection.opening, "REPLY_SECONDS", 1.0)
    smtp_server.data = lambda _: time.sleep(1.5)
    message = send(crm, qa)
    deliver()
    assert outcomes(message) == [("customer@example.com", "sent")]


def test_a_server_that_turns_every_mail_away_is_asked_less_and_less_often(crm, qa, configured, smtp_server):
    smtp_server.mail = lambda _: "421 4.3.2 not now"
    send(crm, qa)
    for failures in (1, 2, 3):
        now_due()
        deliver()
        assert StageQueue.objects.get(stage=qa).failures == failures


def test_a_pause_of_the_stage_that_is_too_far_off_is_over(crm, qa, configured, smtp_server):
    StageQueue.objects.create(stage=qa, failures=1, retry_at=timezone.now() + timedelta(days=3))
    send(crm, qa)
    deliver()
    assert len(smtp_server.arrived) == 1


def test_a_nul_in_the_senders_name_spoils_nothing(crm, qa, smtp_server):
    configure(qa, smtp_server)
    message = send(crm, qa, content=b"From: a\x00b@other.example\r\n\r\nHi\r\n")
    deliver()
    assert statuses(message) == {"customer@example.com": "sent"}
    message.refresh_from_db()
    assert "left as no-reply@acme.example" in message.notes[0]


def test_notes_on_many_emails_cost_no_more_statements_than_on_one(crm, qa):
    configure(qa)
    note = "The app gave no From, so the mail left as no-reply@acme.example."

    def statements(count: int) -> int:
        messages = [send(crm, qa).pk for _ in range(count)]
        finished = [
            Finished(one, [Outcome(one.recipients[0], Attempt.Outcome.SENT, "content", 250, "250 Ok")], notes=[note])
            for one in take(qa, count, "worker")
        ]
        Message.objects.update(notes=["Said before.", note])
        with transaction.atomic(), CaptureQueriesContext(connection) as captured:
            record(finished, ask_held(finished)(), timezone.now())
        stored = Message.objects.filter(pk__in=messages).values_list("status", "notes")
        assert list(stored) == [(Status.SENT, ["Said before.", note])] * count
        return len(captured)

    assert statements(1) == statements(20) < 10


def test_workers_together_open_no_more_connections_than_the_stage_allows(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", connections=3)
    register("one")
    register("two")
    assert [len(take_places(worker, qa.pk, 1)) for worker in ("one", "two", "one", "two")] == [1, 1, 1, 0]
    forget("one")
    assert len(take_places("two", qa.pk, 5)) == 2  # with the one that it has, all three


def test_no_more_mails_leave_in_a_minute_than_the_stage_allows(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", mails_per_minute=120, connections=4)
    moments = []
    smtp_server.data = lambda _: moments.append(time.monotonic())
    for _ in range(16):
        send(crm, qa)
    deliver()
    assert len(moments) == 16
    assert smtp_server.connections <= 2
    after_the_burst = [moment for moment in moments if moment > moments[0] + 0.4]
    assert len(after_the_burst) >= 4  # ten may go at once (5 seconds' worth); the others two a second
    assert moments[-1] - moments[0] > 2.0


def test_a_limit_keeps_the_connection_open_and_ends_when_nothing_is_left(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", mails_per_minute=60, connections=1)
    for _ in range(3):
        send(crm, qa)
    StageQueue.objects.create(stage=qa, allowance=1, allowance_at=timezone.now())
    Message.objects.filter(pk=Message.objects.last().pk).delete()
    deliver()
    assert (len(smtp_server.arrived), smtp_server.connections) == (2, 1)


@pytest.mark.parametrize(
    ("where", "reply", "slower"),
    [
        ("data", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", True),
        ("data", "454 4.7.0 Throttling failure: Maximum sending rate exceeded.", True),
        ("mail", "450 4.7.28 unusual rate of mail", True),
        ("rcpt", "450 4.2.1 too many messages for this recipient; slow down", True),
        ("rcpt", "451 4.7.1 Greylisted, try again in 300 seconds", False),
        ("data", "451 4.7.1 Greylisting in action", False),
        ("rcpt", "450 4.2.1 mailbox busy", False),
        ("data", "451 4.3.0 temporary failure", False),
    ],
)
def test_a_server_that_asks_for_fewer_mails_slows_its_stage_down(crm, qa, smtp_server, where, reply, slower):
    configure(qa, smtp_server, from_domains="*", connections=1)
    setattr(smtp_server, where, lambda _: reply)
    for _ in range(6):
        send(crm, qa)
    deliver()
    tried = Attempt.objects.values("message").distinct().count()
    trouble = StageQueue.objects.filter(stage=qa, failures=1).first()
    assert (bool(trouble), tried <= 2) == (slower, slower)
    if slower:
        assert trouble.code == "throttled"
        assert reply[:20] in trouble.evidence
        assert not trouble.paused
        now_due()
        deliver()
        assert StageQueue.objects.get(stage=qa).failures == 2
    setattr(smtp_server, where, lambda _: None)
    for _ in range(2):
        now_due()
        deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert not StageQueue.objects.filter(failures__gt=0).exists()


def test_workers_share_a_stages_connections_evenly(crm, qa, smtp_server):
    """Whoever comes first would leave the others idle; a worker that died counts no more."""
    configure(qa, smtp_server, from_domains="*", connections=4)
    register("one")
    register("two")
    assert [len(take_places("one", qa.pk, wanted)) for wanted in (1, 3, 3)] == [1, 1, 0]
    Worker.objects.filter(name="two").update(seen=timezone.now() - timedelta(minutes=1))
    assert [len(take_places("one", qa.pk, wanted)) for wanted in (3, 3)] == [2, 0]


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_large_mail_arrives_byte_for_byte(crm, qa, configured, smtp_server, size):
    body = (b".\r\n..\r\n" + b"x" * 70 + b"\r\n") * (size // 80)
    send(crm, qa, content=b"From: crm@acme.example\r\n\r\n" + body)
    deliver()
    assert smtp_server.arrived[0].content.partition(b"\r\n\r\n")[2] == body


def test_a_due_time_beyond_every_pause_counts_as_due(crm, qa, configured, smtp_server):
    send(crm, qa)
    far = timezone.now() + timedelta(days=3)
    Message.objects.update(due=far)
    Recipient.objects.update(due=far)
    deliver()
    assert len(smtp_server.arrived) == 1


def test_a_dead_stage_does_not_delay_another(crm, qa, production, smtp_server):
    hang = threading.Event()
    with SmtpServer(data=lambda _: hang.wait(60) and None) as slow:
        configure(production, slow, from_domains="*")
        configure(qa, smtp_server, from_domains="*")
        send(crm, production)
        worker = threading.Thread(target=deliver_beside)
        worker.start()
        for _ in range(3):
            send(crm, qa)
        try:
            eventually(lambda: len(smtp_server.arrived) == 3)
            assert slow.arrived == []
        finally:
            hang.set()
            worker.join(60)


def test_pauses_grow_to_an_hour_and_end_after_two_days():
    assert [pause.total_seconds() / 60 for pause in PAUSES[:7]] == [1, 2, 5, 15, 30, 60, 60]
    assert 46 <= sum(PAUSES, timedelta()).total_seconds() / 3600 <= 49
    assert next_pause(len(PAUSES)) is not None
    assert next_pause(len(PAUSES) + 1) is None


def test_the_last_try_fails_with_the_servers_words(crm, qa, configured, smtp_server):
    smtp_server.rcpt = lambda _: "450 4.2.1 mailbox busy"
    message = send(crm, qa)
    Recipient.objects.update(tries=len(PAUSES))
    deliver()
    recipient = message.recipients.get()
    assert recipient.status == Status.FAILED
    assert "450 4.2.1 mailbox busy" in recipient.last_reply


@pytest.mark.parametrize(
    ("code", "longest"),
    [
        ("certificate_expired", 60),
        ("starttls_not_offered", 60),
        ("auth_not_offered", 60),
        ("token_answer_unusable", 60),
        ("token_server_error", 60),
        ("token_request_refused", 60),
        ("secret_unreadable", 60),
        ("auth_refused", 1800),
        ("token_client_refused", 1800),
        ("token_scope_refused", 1800),
        ("token_not_accepted", 1800),
    ],
)
def test_only_a_refused_sign_in_waits_longer_than_a_minute_for_a_person(qa, code, longest):
    StageQueue.objects.create(stage=qa, failures=500, since=timezone.now() - timedelta(hours=9))
    note_trouble(qa.pk, ConnectionTrouble("AUTH", code))
    pause = StageQueue.objects.get(stage=qa).retry_at - timezone.now()
    assert longest - 5 < pause.total_seconds() <= longest


def test_the_stages_pause_grows_to_its_limit():
    assert [pause_after(n, needs_a_person=False).total_seconds() for n in (1, 2, 3, 4, 5, 60)] == [5, 10, 20, 40, 60, 60]
    assert [pause_after(n, needs_a_person=True).total_seconds() for n in (1, 2, 6, 99)] == [60, 120, 1800, 1800]
