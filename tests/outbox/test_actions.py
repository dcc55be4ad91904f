"""Retry now, cancel, release, resend: what a person does with one message, over real SMTP and in the browser."""

from __future__ import annotations

import threading
import time

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from delivery.leases import recover_abandoned
from delivery.worker import sweep
from organization.access import Scope
from organization.models import AuditEvent, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from outbox.actions import cancel, release_held, resend, resend_to_real_recipients, retry_now
from outbox.holding.held_mail import Choice, answer
from outbox.models import Content, HoldReason, Message, RouteKind, Status
from testlists.services import in_flight_count, test_list_of, wait_until_none_in_flight
from tests.support.outbox import deliver, deliver_beside, leases_run_out, now_due, outcomes, send, set_list, statuses, take
from tests.support.portal import OPERATOR, configure, make_member, signed_in
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

BUSY = "451 4.7.1 busy"


def stored(message: Message) -> Message:
    return Message.objects.get(pk=message.pk)


def trail() -> list[tuple[str, str, str]]:
    """The audit trail: who did what with which message."""
    return list(AuditEvent.objects.filter(entity="message").order_by("pk").values_list("actor_name", "operation", "entity_id"))


def deferred(crm, qa, smtp_server, *to: str) -> Message:
    """A message that the server deferred."""
    smtp_server.rcpt = lambda _: BUSY
    message = send(crm, qa, *to)
    deliver()
    assert stored(message).status == Status.DEFERRED
    smtp_server.rcpt = lambda _: None
    return message


def test_mail(crm, qa, smtp_server) -> Message:
    """A message that reached the people on the Active test list."""
    set_list(crm, qa, "ana@acme.example")
    message = send(crm, qa, "customer@example.com", "boss@example.com")
    deliver()
    assert smtp_server.recipients == {"ana@acme.example"}
    return message


def held(crm, qa, *to: str) -> Message:
    """Test mail that is held: the last person on the Active list was removed."""
    message = send(crm, empty_list(crm, qa), *to)
    assert stored(message).hold_reason == HoldReason.TEST_LIST_EMPTY
    return message


def empty_list(crm, stage) -> Stage:
    """A stage in which the app's list is Active and empty."""
    if not test_list_of(crm, stage).active:
        set_list(crm, stage, "gone@acme.example")
    test_list_of(crm, stage).addresses.all().delete()
    return stage


test_mail.__test__ = False  # type: ignore[attr-defined]


# Retry now


def test_retrying_makes_every_waiting_recipient_due_at_once(crm, qa, configured, smtp_server, administrator):
    message = deferred(crm, qa, smtp_server, "one@example.com", "two@example.com")
    deliver()
    assert smtp_server.arrived == []
    retry_now(message, administrator)
    deliver()
    assert statuses(message) == {"one@example.com": "sent", "two@example.com": "sent"}
    assert trail() == [(str(administrator), "Retry", str(message.pk))]
    assert AuditEvent.objects.get(operation="Retry").after == {"recipients": ["one@example.com", "two@example.com"]}


def test_retrying_leaves_those_who_are_done_alone(crm, qa, configured, smtp_server):
    answers = {"late@example.com": BUSY, "no@example.com": "550 5.1.1 unknown"}
    smtp_server.rcpt = answers.get
    message = send(crm, qa, "early@example.com", "late@example.com", "no@example.com")
    deliver()
    answers.clear()
    retry_now(message, OPERATOR)
    deliver()
    assert [arrival.recipients for arrival in smtp_server.arrived] == [["early@example.com"], ["late@example.com"]]
    assert statuses(message)["no@example.com"] == "failed"


def test_mail_that_waits_after_dead_workers_can_be_retried_too(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    for _ in range(2):
        assert take(qa, 1)
        leases_run_out()
        recover_abandoned()
    deliver()
    assert (stored(message).status, smtp_server.arrived) == (Status.QUEUED, [])
    retry_now(message, OPERATOR)
    deliver()
    assert stored(message).status == Status.SENT


def test_only_what_waits_for_its_next_try_can_be_retried(crm, qa, production, configured, smtp_server):
    def refusal(message: Message) -> str:
        with pytest.raises(ValidationError) as refused:
            retry_now(message, OPERATOR)
        return refused.value.messages[0]

    held, due = send(crm, production), send(crm, qa)
    assert "The email is held. When the reason is gone" in refusal(held)
    assert "due already" in refusal(due)
    take(qa, 1)
    assert "being sent to the server right now" in refusal(due)
    leases_run_out()
    deliver()
    assert "is finished" in refusal(due)
    assert stored(held).hold_reason == HoldReason.STAGE_NOT_CONFIGURED
    assert trail() == []


# Cancel


def test_cancelling_ends_what_waits_and_leaves_sent_what_is_sent(crm, qa, configured, smtp_server, administrator):
    smtp_server.rcpt = {"late@example.com": BUSY}.get
    message = send(crm, qa, "early@example.com", "late@example.com")
    deliver()
    cancel(message, administrator)
    now_due()
    deliver()
    assert statuses(message) == {"early@example.com": "sent", "late@example.com": "failed"}
    late = message.recipients.get(address="late@example.com")
    assert late.last_reply == "Cancelled by Ada Admin."
    assert late.finished
    assert stored(message).status == Status.FAILED
    assert set(outcomes(message)) == {("early@example.com", "sent"), ("late@example.com", "deferred")}
    assert smtp_server.recipients == {"early@example.com"}
    assert trail() == [(str(administrator), "Cancel", str(message.pk))]
    assert AuditEvent.objects.get(operation="Cancel").after == {"recipients": ["late@example.com"]}


def test_mail_that_was_cancelled_while_held_stays_where_it_is(crm, qa, smtp_server):
    message = send(crm, qa)
    assert stored(message).status == Status.HELD
    cancel(message, OPERATOR)
    assert (stored(message).status, stored(message).hold_reason) == (Status.FAILED, "")
    configure(qa, smtp_server, from_domains="*")
    deliver()
    assert smtp_server.arrived == []
    assert statuses(message) == {"customer@example.com": "failed"}


def test_test_mail_with_nobody_to_get_it_can_be_cancelled(crm, qa, configured, smtp_server, viewer):
    set_list(crm, qa, viewer.email)
    Member.objects.filter(pk=viewer.pk).update(is_active=False)
    message = send(crm, qa)
    assert (stored(message).hold_reason, statuses(message)) == (HoldReason.TEST_LIST_EMPTY, {})
    cancel(message, OPERATOR)
    assert stored(message).status == Status.FAILED
    assert stored(message).notes == ["Cancelled by the tests."]
    set_list(crm, qa, "ana@acme.example")
    deliver()
    assert smtp_server.arrived == []


def test_mail_on_the_wire_cannot_be_cancelled_and_arrives(crm, qa, configured, smtp_server):
    on_the_wire, finish = threading.Event(), threading.Event()

    def hold_the_line(_):
        on_the_wire.set()
        finish.wait(60)

    smtp_server.data = hold_the_line
    message = send(crm, qa)
    worker = threading.Thread(target=deliver_beside)
    worker.start()
    assert on_the_wire.wait(60)
    try:
        with pytest.raises(ValidationError, match="being sent to the server right now"):
            cancel(message, OPERATOR)
    finally:
        finish.set()
        worker.join(60)
    assert statuses(message) == {"customer@example.com": "sent"}
    with pytest.raises(ValidationError, match="is finished"):
        cancel(message, OPERATOR)
    assert trail() == []


@pytest.mark.requires_postgresql  # SQLite has one writer at a time
def test_mail_that_a_worker_is_taking_is_not_cancelled_behind_its_back(crm, qa, configured):
    """The worker holds the row. A member who cancels waits for it, and then sees that the message is being sent."""
    message, refusals = send(crm, qa), []

    def cancel_it():
        try:
            cancel(message, OPERATOR)
        except ValidationError as refused:
            refusals.append(refused.messages[0])
        connection.close()

    person = threading.Thread(target=cancel_it)
    with transaction.atomic():
        (claimed,) = take(qa, 1)
        person.start()
        time.sleep(0.3)
        assert person.is_alive()
    person.join(60)
    assert "right now" in refusals[0]
    assert stored(message).owner == claimed.owner


@pytest.mark.requires_postgresql  # SQLite has one writer at a time
def test_a_worker_passes_over_mail_that_is_being_cancelled(crm, qa, configured):
    cancelled, other = send(crm, qa), send(crm, qa, "other@example.com")
    claimed = []

    def take_what_is_due():
        claimed.extend(take(qa, 10))
        connection.close()

    with transaction.atomic():
        cancel(cancelled, OPERATOR)
        worker = threading.Thread(target=take_what_is_due)
        worker.start()
        worker.join(60)
        assert [message.pk for message in claimed] == [other.pk]
    assert take(qa, 10) == []
    assert statuses(cancelled) == {"customer@example.com": "failed"}


def test_mail_is_either_cancelled_or_sent_whatever_the_order(crm, qa, configured, smtp_server):
    messages = [send(crm, qa, f"customer{number}@example.com") for number in range(60)]
    cancelled = set()

    def change_our_mind():
        for message in reversed(messages):
            try:
                cancel(message, OPERATOR)
            except ValidationError:
                continue
            cancelled.add(message.requested[0])
        connection.close()

    person = threading.Thread(target=change_our_mind)
    person.start()
    deliver()
    person.join(60)
    deliver()
    arrived = [address for arrival in smtp_server.arrived for address in arrival.recipients]
    assert len(arrived) == len(set(arrived))
    assert set(arrived) | cancelled == {message.requested[0] for message in messages}
    assert not set(arrived) & cancelled
    assert set(Message.objects.values_list("status", flat=True)) <= {Status.SENT, Status.FAILED}


# Release what is held


def test_held_mail_that_a_person_releases_reaches_the_real_recipients_and_no_other_mail_does(
    crm, qa, configured, smtp_server, administrator
):
    message, beside = held(crm, qa, "customer@example.com", "boss@example.com"), held(crm, qa, "other@example.com")
    release_held(message, administrator)
    sweep()
    deliver()
    (arrived,) = smtp_server.arrived
    assert arrived.recipients == ["customer@example.com", "boss@example.com"]
    assert (arrived.mail["To"], arrived.mail["X-Original-To"]) == ("customer@example.com", None)
    message = stored(message)
    assert (message.status, message.route, message.hold_reason) == (Status.SENT, RouteKind.RELEASED, "")
    assert message.notes == ["Released to the real recipients by Ada Admin: the test list doesn't catch this email."]
    assert (stored(beside).status, stored(beside).route) == (Status.HELD, RouteKind.TEST_LIST)
    assert trail() == [(str(administrator), "Release to real recipients", str(message.pk))]
    event = AuditEvent.objects.get(operation="Release to real recipients")
    recipients = ["customer@example.com", "boss@example.com"]
    assert (event.app, event.stage) == (crm, qa)
    assert event.after == {"route": "Released to real recipients", "recipients": recipients}
    set_list(crm, qa, "ana@acme.example")
    deliver()
    assert statuses(beside) == {"ana@acme.example": "sent"}


def test_released_mail_is_not_caught_though_the_list_is_filled_before_it_leaves(crm, qa, configured, smtp_server):
    message = held(crm, qa)
    smtp_server.rcpt = lambda _: BUSY
    release_held(message, OPERATOR)
    deliver()
    set_list(crm, qa, "ana@acme.example")
    smtp_server.rcpt = lambda _: None
    retry_now(message, OPERATOR)
    deliver()
    assert (smtp_server.recipients, stored(message).status) == ({"customer@example.com"}, Status.SENT)


def test_mail_that_was_held_half_way_is_released_to_those_who_are_left(crm, qa, configured, smtp_server):
    answers = {"late@example.com": BUSY, "no@example.com": "550 5.1.1 unknown"}
    smtp_server.rcpt = answers.get
    message = send(crm, qa, "early@example.com", "late@example.com", "no@example.com")
    deliver()
    empty_list(crm, qa)
    now_due()
    deliver()
    assert stored(message).hold_reason == HoldReason.TEST_LIST_EMPTY
    answers.clear()
    release_held(message, OPERATOR)
    assert AuditEvent.objects.get(entity="message").after["recipients"] == ["late@example.com"]
    deliver()
    assert [arrival.recipients for arrival in smtp_server.arrived] == [["early@example.com"], ["late@example.com"]]
    assert statuses(message) == {"early@example.com": "sent", "no@example.com": "failed", "late@example.com": "sent"}


def test_mail_whose_real_recipients_all_have_it_is_finished_by_releasing_it(crm, qa, configured, smtp_server):
    smtp_server.rcpt = {"ben@acme.example": BUSY}.get
    set_list(crm, qa, "ana@acme.example", "ben@acme.example")
    message = send(crm, qa, "ana@acme.example")
    deliver()
    empty_list(crm, qa)
    now_due()
    deliver()
    assert stored(message).status == Status.HELD
    release_held(message, OPERATOR)
    assert (stored(message).status, statuses(message)) == (Status.SENT, {"ana@acme.example": "sent"})


def test_only_test_mail_that_nobody_would_get_is_released_and_only_where_it_can_go(crm, qa, production, configured, smtp_server):
    def refusal(message: Message) -> str:
        before = stored(message).route, stored(message).status, statuses(message)
        with pytest.raises(ValidationError) as refused:
            release_held(message, OPERATOR)
        assert (stored(message).route, stored(message).status, statuses(message)) == before
        return refused.value.messages[0]

    assert "Production has no SMTP settings, so there is nowhere to send" in refusal(send(crm, production))
    assert "Production has no SMTP settings" in refusal(held(crm, production))
    message = send(crm, qa)
    assert "isn't held any more" in refusal(message)
    take(qa, 1)
    assert "isn't held any more" in refusal(message)
    Message.objects.filter(pk=message.pk).update(status=Status.HELD, hold_reason=HoldReason.STAGE_NOT_CONFIGURED)
    assert "When the reason is gone" in refusal(message)  # its settings were saved in this moment
    other = held(crm, qa)
    cancel(other, OPERATOR)
    assert "isn't held any more" in refusal(other)
    again = held(crm, qa)
    release_held(again, OPERATOR)
    assert "isn't held any more" in refusal(again)


def test_held_mail_goes_to_the_real_recipients_or_to_the_list_but_never_to_both(crm, qa, configured, smtp_server):
    messages = [held(crm, qa, f"customer{number}@example.com") for number in range(40)]
    released = set()

    def release_them():
        for message in reversed(messages):
            try:
                release_held(message, OPERATOR)
            except ValidationError:
                continue
            released.add(message.requested[0])
        connection.close()

    person = threading.Thread(target=release_them)
    person.start()
    set_list(crm, qa, "ana@acme.example")
    deliver()
    person.join(60)
    sweep()
    deliver()
    arrived = [address for arrival in smtp_server.arrived for address in arrival.recipients]
    assert len(arrived) == len(messages)
    assert {address for address in arrived if address != "ana@acme.example"} == released
    assert {message.requested[0] for message in Message.objects.filter(route=RouteKind.RELEASED)} == released


# Resend


def test_resending_sends_the_same_bytes_as_a_new_mail(crm, qa, configured, smtp_server, administrator):
    content = (
        b"From: crm@acme.example\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\nMessage-ID: <7@crm.acme.example>\r\n"
        b"Subject: Hi\r\nX-Odd:  kept \r\n\r\n.\r\n\xff\r\n"
    )
    original = send(crm, qa, "to@example.com", "bcc@example.com", content=content, sender="bounces@acme.example")
    deliver()
    again = resend(original, administrator)
    assert again.pk != original.pk
    assert bytes(Content.objects.get(message=again).data) == content
    deliver()
    first, second = smtp_server.arrived
    assert (second.sender, second.recipients) == (first.sender, first.recipients)
    assert first.content.endswith(content)  # behind our Received line, which has another number
    assert second.content.endswith(content)
    assert second.mail["Message-ID"] == "<7@crm.acme.example>"
    again = stored(again)
    assert (again.app, again.stage, again.requested) == (crm, qa, ["to@example.com", "bcc@example.com"])
    assert again.status == Status.SENT
    assert again.notes == [f"Resent from #{original.pk} by Ada Admin."]
    assert (again.resent_from, stored(original).resent_as) == (original.pk, again.pk)
    assert stored(original).notes == [f"Resent as #{again.pk} by Ada Admin."]
    assert trail() == [(str(administrator), "Resend", str(original.pk))]
    assert AuditEvent.objects.get(operation="Resend").after == {
        "resent_as": again.pk,
        "route": "Recipients",
        "recipients": ["to@example.com", "bcc@example.com"],
    }
    assert AuditEvent.objects.filter(operation="Resend", app=crm, stage=qa).exists()


def test_the_null_sender_stays_null_when_a_bounce_is_resent(crm, qa, configured, smtp_server):
    original = send(crm, qa, sender="")
    deliver()
    resend(original, OPERATOR)
    deliver()
    assert [arrival.sender for arrival in smtp_server.arrived] == ["", ""]


def test_an_active_list_catches_mail_that_is_resent(crm, qa, configured, smtp_server):
    original = send(crm, qa)
    deliver()
    set_list(crm, qa, "ana@acme.example")
    again = resend(original, OPERATOR)
    deliver()
    assert [arrival.recipients for arrival in smtp_server.arrived] == [["customer@example.com"], ["ana@acme.example"]]
    assert stored(again).route == RouteKind.TEST_LIST


def test_resent_test_mail_stays_test_mail_though_the_list_is_inactive_now(crm, qa, configured, smtp_server):
    original = test_mail(crm, qa, smtp_server)
    set_list(crm, qa, "ben@acme.example", active=False)
    again = resend(original, OPERATOR)
    deliver()
    assert smtp_server.recipients == {"ana@acme.example", "ben@acme.example"}
    assert smtp_server.arrived[-1].mail["To"] == "ben@acme.example"
    assert "although the list is Inactive" in stored(again).notes[1]
    released = resend_to_real_recipients(stored(original), OPERATOR)
    deliver()
    smtp_server.arrived.clear()
    resend(released, OPERATOR)
    deliver()
    assert smtp_server.recipients == {"ben@acme.example"}


def test_mail_that_is_not_finished_is_not_resent(crm, qa, production, configured, smtp_server):
    held, put_off = send(crm, production), deferred(crm, qa, smtp_server)
    for message in (held, put_off):
        for act in (resend, resend_to_real_recipients):
            with pytest.raises(ValidationError, match="not finished yet"):
                act(message, OPERATOR)
    assert Message.objects.count() == 2
    cancel(put_off, OPERATOR)
    resend(put_off, OPERATOR)
    deliver()
    assert len(smtp_server.arrived) == 1


def test_what_cannot_be_accepted_again_is_refused_in_words_and_leaves_nothing(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    deliver()
    qa.archived = True
    qa.save()
    with pytest.raises(ValidationError, match="QA is archived"):
        resend(message, OPERATOR)
    qa.archived = False
    qa.save()
    Content.objects.all().delete()
    with pytest.raises(ValidationError, match="isn't kept any more"):
        resend(message, OPERATOR)
    assert (Message.objects.count(), stored(message).notes, trail()) == (1, [], [])


def test_two_people_who_resend_the_same_mail_at_once_send_it_once(crm, qa, configured, smtp_server):
    message = send(crm, qa)
    deliver()
    refusals = []

    def resend_it():
        try:
            resend(message, OPERATOR, known_resend=0)
        except ValidationError as refused:
            refusals.append(refused.messages[0])
        connection.close()

    people = [threading.Thread(target=resend_it) for _ in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
    deliver()
    assert len(smtp_server.arrived) == 2
    assert len(refusals) == 3
    assert f"resent as #{stored(message).resent_as}" in refusals[0]
    assert resend(message, OPERATOR, known_resend=stored(message).resent_as)


# Resend to the real recipients


def test_released_mail_reaches_the_real_recipients_though_the_list_is_active_and_no_other_mail_does(
    crm, qa, configured, smtp_server, administrator
):
    original = test_mail(crm, qa, smtp_server)
    released = resend_to_real_recipients(original, administrator)
    beside = send(crm, qa, "other@example.com")
    deliver()
    _, first, second = smtp_server.arrived
    assert {tuple(first.recipients), tuple(second.recipients)} == {
        ("customer@example.com", "boss@example.com"),
        ("ana@acme.example",),
    }
    real = next(arrival for arrival in smtp_server.arrived if arrival.recipients[0] == "customer@example.com")
    assert real.mail["To"] == "customer@example.com"
    assert real.mail["X-Original-To"] is None
    assert stored(released).route == RouteKind.RELEASED
    assert stored(released).notes == [
        f"Resent from #{original.pk} by Ada Admin.",
        "Released to the real recipients by Ada Admin: the test list doesn't catch this email.",
    ]
    assert (stored(original).route, stored(beside).route) == (RouteKind.TEST_LIST, RouteKind.TEST_LIST)
    assert statuses(original) == {"ana@acme.example": "sent"}
    assert trail() == [(str(administrator), "Resend to real recipients", str(original.pk))]
    assert AuditEvent.objects.get(operation="Resend to real recipients").after == {
        "resent_as": released.pk,
        "route": "Released to real recipients",
        "recipients": ["customer@example.com", "boss@example.com"],
    }


def test_released_mail_stays_released_while_lists_change_and_servers_put_it_off(crm, qa, configured, smtp_server):
    original = test_mail(crm, qa, smtp_server)
    smtp_server.rcpt = lambda address: BUSY if address == "boss@example.com" else None
    released = resend_to_real_recipients(original, OPERATOR)
    set_list(crm, qa, "ben@acme.example")
    deliver()
    set_list(crm, qa, "cleo@acme.example", active=False)
    set_list(crm, qa, "cleo@acme.example")
    smtp_server.rcpt = lambda _: None
    retry_now(released, OPERATOR)
    deliver()
    assert statuses(released) == {"customer@example.com": "sent", "boss@example.com": "sent"}
    assert smtp_server.recipients == {"ana@acme.example", "customer@example.com", "boss@example.com"}
    assert stored(released).route == RouteKind.RELEASED


def test_a_list_that_becomes_active_later_catches_ordinary_mail_beside_the_released(crm, qa, configured, smtp_server):
    original = test_mail(crm, qa, smtp_server)
    set_list(crm, qa, "ana@acme.example", active=False)
    ordinary, released = send(crm, qa, "other@example.com"), resend_to_real_recipients(original, OPERATOR)
    smtp_server.arrived.clear()
    set_list(crm, qa, "ana@acme.example")
    deliver()
    assert statuses(ordinary) == {"ana@acme.example": "sent"}
    assert statuses(released) == {"customer@example.com": "sent", "boss@example.com": "sent"}


def test_released_mail_on_the_wire_counts_as_leaving(crm, qa, configured, smtp_server):
    original = test_mail(crm, qa, smtp_server)
    resend_to_real_recipients(original, OPERATOR)
    take(qa, 1)
    activated = set_list(crm, qa, "ana@acme.example")
    assert in_flight_count(activated) == 1
    leases_run_out()
    deliver()
    assert wait_until_none_in_flight(activated, seconds=60) == 0


def test_released_mail_that_is_held_for_its_stage_goes_to_the_real_recipients_later(crm, qa, configured, smtp_server):
    original = test_mail(crm, qa, smtp_server)
    configured.delete()
    released = resend_to_real_recipients(original, OPERATOR)
    assert released.hold_reason == HoldReason.STAGE_NOT_CONFIGURED
    with SmtpServer() as other:
        configure(qa, other, from_domains="*")
        answer(Scope(stage=qa), Choice.DELIVER, OPERATOR)
        deliver()
        assert other.recipients == {"customer@example.com", "boss@example.com"}


# Who may


ACTS = {
    retry_now: Permission.RESEND_MAIL,
    cancel: Permission.RESEND_MAIL,
    resend: Permission.RESEND_MAIL,
    release_held: Permission.RESEND_TO_REAL_RECIPIENTS,
    resend_to_real_recipients: Permission.RESEND_TO_REAL_RECIPIENTS,
}


@pytest.mark.parametrize("act", ACTS)
def test_each_act_needs_its_permission_over_the_app_in_the_stage(crm, shop, qa, production, configured, smtp_server, act):
    message = held(crm, qa) if act == release_held else deferred(crm, qa, smtp_server)
    if act in (resend, resend_to_real_recipients):
        cancel(message, OPERATOR)
    others = [permission.value for permission in Permission if permission != ACTS[act]]
    wrong = make_member("Wrong Role", Role.objects.create(name="All but this", permissions=others))
    role = Role.objects.create(name="This alone", permissions=[ACTS[act].value])
    elsewhere = make_member("Other App", role, shop)
    with pytest.raises(PermissionDenied, match=ACTS[act].label):
        act(message, wrong)
    with pytest.raises(PermissionDenied):
        act(message, elsewhere)
    role.stages.set([production])
    with pytest.raises(PermissionDenied):
        act(message, make_member("Other Stage", role, crm))
    role.stages.set([qa])
    assert act(message, make_member("Right Person", role, crm))


def test_developers_act_on_mail_of_their_apps_but_release_none(crm, qa, configured, smtp_server, developer):
    message = test_mail(crm, qa, smtp_server)
    resend(message, developer)
    with pytest.raises(PermissionDenied):
        resend_to_real_recipients(message, developer)


# In the browser


def url(message: Message, act: str = "message") -> str:
    return reverse(f"email-log-{act}", args=[message.stage.key, message.pk])


def message_text(response) -> str:
    """The flash message on the page that a browser is sent to."""
    return " ".join(str(message) for message in response.context["messages"])


def known_resend(message: Message) -> dict[str, str]:
    return {"known_resend": str(stored(message).resent_as or 0)}


@pytest.fixture
def waiting(crm, qa, configured, smtp_server) -> Message:
    return deferred(crm, qa, smtp_server)


@pytest.fixture
def finished(crm, qa, configured, smtp_server) -> Message:
    return test_mail(crm, qa, smtp_server)


def test_buttons_are_those_that_fit_the_mail_and_the_person(as_administrator, as_developer, as_viewer, waiting, crm, qa):
    def offered(client, message: Message) -> list[str]:
        text = client.get(url(message)).content.decode()
        return [act for act in ("retry", "cancel", "release-held", "resend", "release") if url(message, act) + '"' in text]

    assert offered(as_administrator, waiting) == ["retry", "cancel"]
    assert offered(as_developer, waiting) == ["retry", "cancel"]
    assert offered(as_viewer, waiting) == []
    retry_now(waiting, OPERATOR)
    assert offered(as_administrator, waiting) == ["cancel"]
    deliver()
    assert offered(as_administrator, waiting) == ["resend"]
    set_list(crm, qa, "ana@acme.example")
    assert offered(as_administrator, waiting) == ["resend", "release"]
    assert offered(as_developer, waiting) == ["resend"]
    assert offered(as_viewer, waiting) == []
    beside = send(crm, qa)
    take(qa, 1)
    assert offered(as_administrator, beside) == []
    listless = held(crm, qa)
    assert offered(as_administrator, listless) == ["cancel", "release-held"]
    assert offered(as_developer, listless) == ["cancel"]
    assert offered(as_viewer, listless) == []


@pytest.mark.parametrize("act", ["retry", "cancel", "release-held", "resend", "release"])
def test_nobody_acts_without_the_permission_on_missing_mail_or_by_the_wrong_method(
    as_administrator, as_developer, as_viewer, shop, production, finished, act
):
    address = url(finished, act)
    assert as_viewer.post(address, known_resend(finished)).status_code == 403
    assert signed_in(make_member("Nobody Special")).post(address).status_code == 403
    assert as_developer.post(url(send(shop, finished.stage), act)).status_code == 404
    for missing in ("/qa/", "/production/"), ("/qa/", "/nowhere/"), (f"/{finished.pk}/", "/999999/"):
        assert as_administrator.post(address.replace(*missing)).status_code == 404
    assert as_administrator.put(address).status_code == 405
    if act == "retry":
        assert as_administrator.get(address).status_code == 405
    else:
        assert as_viewer.get(address).status_code == 403
    assert trail() == []


def test_a_forged_request_does_nothing(administrator, waiting):
    client = Client(enforce_csrf_checks=True)
    client.force_login(administrator)
    assert client.post(url(waiting, "cancel")).status_code == 403
    assert stored(waiting).status == Status.DEFERRED


def test_retry_now_is_one_click(as_developer, waiting, smtp_server):
    answer = as_developer.post(url(waiting, "retry"), follow=True)
    assert answer.redirect_chain == [(url(waiting), 302)]
    assert "Retrying now" in message_text(answer)
    deliver()
    assert len(smtp_server.arrived) == 1


@pytest.mark.parametrize("act", ["retry", "cancel"])
def test_a_finished_mail_is_neither_retried_nor_cancelled(as_administrator, finished, act):
    assert "is finished" in message_text(as_administrator.post(url(finished, act), follow=True))
    assert trail() == []


@pytest.mark.parametrize("act", ["resend", "release"])
def test_a_mail_under_way_is_not_resent(as_administrator, waiting, act):
    assert "not finished yet" in message_text(as_administrator.post(url(waiting, act), {"known_resend": "0"}, follow=True))
    assert "not finished yet" in message_text(as_administrator.get(url(waiting, act), follow=True))
    assert Message.objects.count() == 1


def test_cancelling_asks_first_and_names_whom_it_hits(as_developer, waiting):
    asked = as_developer.get(url(waiting, "cancel"))
    assert "customer@example.com" in asked.content.decode()
    assert stored(waiting).status == Status.DEFERRED
    answer = as_developer.post(url(waiting, "cancel"), follow=True)
    assert answer.redirect_chain == [(url(waiting), 302)]
    assert "was cancelled" in message_text(answer)
    assert "Cancelled by Devon Dev." in answer.content.decode()


def test_in_production_the_name_of_the_stage_is_typed(as_administrator, crm, production, smtp_server):
    held = send(crm, production)
    for typed in ({}, {"stage_name": "QA"}):
        answer = as_administrator.post(url(held, "cancel"), typed)
        assert answer.status_code == 422
        assert "Nothing was done yet" in answer.content.decode()
    assert stored(held).status == Status.HELD
    as_administrator.post(url(held, "cancel"), {"stage_name": "Production"})
    assert stored(held).status == Status.FAILED
    set_list(crm, production, "ana@acme.example")
    assert as_administrator.post(url(held, "release"), known_resend(held)).status_code == 422
    assert Message.objects.count() == 1
    as_administrator.post(url(held, "release"), {**known_resend(held), "stage_name": "Production"})
    assert Message.objects.get(resent_from=held.pk).route == RouteKind.RELEASED


def test_releasing_held_mail_asks_first_names_the_real_people_and_is_done_once(as_administrator, crm, production, smtp_server):
    configure(production, smtp_server, from_domains="*")
    message = held(crm, production, "customer@example.com", "boss@example.com")
    page, list_page = url(message, "release-held"), reverse("app-emails-edit", args=["crm", "production"])
    assert f'href="{list_page}"' in as_administrator.get(url(message)).content.decode()
    assert as_administrator.get(page).context["addresses"] == ["customer@example.com", "boss@example.com"]
    for typed in ({}, {"stage_name": "QA"}):
        answer = as_administrator.post(page, typed)
        assert answer.status_code == 422
        assert "Nothing was done yet" in answer.content.decode()
    assert stored(message).status == Status.HELD
    answer = as_administrator.post(page, {"stage_name": "Production"}, follow=True)
    assert answer.redirect_chain == [(url(message), 302)]
    assert "a person released the email to the recipients the app gave" in answer.content.decode()
    assert "isn't held any more" in message_text(as_administrator.post(page, {"stage_name": "Production"}, follow=True))
    assert len(trail()) == 1
    deliver()
    assert smtp_server.recipients == {"customer@example.com", "boss@example.com"}


def test_mail_of_a_stage_without_a_server_says_who_sets_it_up(as_administrator, as_developer, crm, production):
    message, set_up = held(crm, production), 'href="/management/configure/emails/production/edit/"'
    answer = as_administrator.get(url(message, "release-held"), follow=True)
    assert "nowhere to send the email" in message_text(answer)
    assert set_up in answer.content.decode()
    assert set_up not in as_developer.get(url(message)).content.decode()


def test_resending_says_who_gets_it_and_leads_to_the_new_mail(as_developer, finished, smtp_server):
    asked = as_developer.get(url(finished, "resend"))
    assert asked.context["addresses"] == ["ana@acme.example"]
    answer = as_developer.post(url(finished, "resend"), known_resend(finished), follow=True)
    new = Message.objects.get(resent_from=finished.pk)
    assert answer.redirect_chain == [(url(new), 302)]
    assert f'<a href="{url(finished)}">#{finished.pk}</a>' in answer.content.decode()
    assert f'<a href="{url(new)}">#{new.pk}</a>' in as_developer.get(url(finished)).content.decode()
    finished.delete()
    assert f"/{new.resent_from}/" not in as_developer.get(url(new)).content.decode()


@pytest.mark.parametrize("act", ["resend", "release"])
def test_a_second_click_does_not_send_twice(as_administrator, finished, act):
    page = known_resend(finished)
    as_administrator.post(url(finished, act), page)
    assert "was resent as #" in message_text(as_administrator.post(url(finished, act), page, follow=True))
    assert as_administrator.post(url(finished, act), {}).status_code == 422
    assert Message.objects.count() == 2


def test_releasing_asks_first_names_the_real_people_and_shows_who_did_it(as_administrator, finished, smtp_server):
    asked = as_administrator.get(url(finished, "release")).content.decode()
    assert "customer@example.com" in asked
    assert "boss@example.com" in asked
    assert Message.objects.count() == 1
    page = as_administrator.post(url(finished, "release"), known_resend(finished), follow=True).content.decode()
    assert "Released to the real recipients by Ada Admin" in page
    assert "a person released the email to the recipients the app gave" in page
    deliver()
    assert {"customer@example.com", "boss@example.com"} <= smtp_server.recipients
    log = as_administrator.get("/monitor/email-log/qa/", {"route": "released"})
    assert [message.route for message, *_ in log.context["rows"]] == [RouteKind.RELEASED]
    assert "Released" in log.content.decode()


def test_a_role_with_the_right_to_release_alone_can_release(crm, finished):
    role = Role.objects.create(
        name="Releaser", permissions=[Permission.ACCESS_ASSET_LOGS.value, Permission.RESEND_TO_REAL_RECIPIENTS.value]
    )
    member = make_member("Rea Releaser")
    RoleGrant.objects.create(member=member, role=role, app=crm)
    client = signed_in(member)
    assert url(finished, "release") in client.get(url(finished)).content.decode()
    assert client.post(url(finished, "resend"), known_resend(finished)).status_code == 403
    assert client.post(url(finished, "release"), known_resend(finished)).status_code == 302


# Only those who didn't get it


def partly_sent(crm, qa, smtp_server) -> Message:
    smtp_server.rcpt = {"no@example.com": "550 5.1.1 unknown"}.get
    message = send(crm, qa, "yes@example.com", "no@example.com")
    deliver()
    smtp_server.rcpt = lambda _: None
    smtp_server.arrived.clear()
    return message


def test_a_resend_goes_to_those_who_missed_it_unless_a_person_chooses_everybody(
    as_administrator, crm, qa, configured, smtp_server
):
    message = partly_sent(crm, qa, smtp_server)
    asked = as_administrator.get(url(message, "resend"))
    assert asked.context["addresses"] == ["no@example.com"]
    assert asked.context["others"] == ["yes@example.com"]
    as_administrator.post(url(message, "resend"), {**known_resend(message), "to": "missing"})
    deliver()
    assert smtp_server.recipients == {"no@example.com"}
    as_administrator.post(url(message, "resend"), {**known_resend(message), "to": "everybody"})
    deliver()
    assert smtp_server.recipients == {"no@example.com", "yes@example.com"}
    assert as_administrator.post(url(message, "resend"), {**known_resend(message), "to": "nobody"}).status_code == 422


def test_without_a_choice_those_who_missed_it_get_it_and_nobody_twice(as_administrator, crm, qa, configured, smtp_server):
    message = partly_sent(crm, qa, smtp_server)
    as_administrator.post(url(message, "resend"), known_resend(message))
    deliver()
    (again,) = Message.objects.filter(resent_from=message.pk)
    assert smtp_server.recipients == {"no@example.com"}
    with pytest.raises(ValidationError, match="Everybody who would get the email now got it already"):
        resend(again, OPERATOR, missing_only=True)
