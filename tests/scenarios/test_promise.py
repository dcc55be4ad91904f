"""The promises under every order of events: nothing accepted is lost, and mail of an Active list reaches nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from delivery.models import StageBackoff
from delivery.values import ClaimedMessage
from delivery.worker import sweep
from organization.models import App, Stage
from outbox.actions import cancel, release_held, resend, resend_to_real_recipients, retry_now
from outbox.models import FINAL, Message, Recipient, RouteKind, Status
from testlists.models import TestListAddress
from tests.support.header_judge import strays
from tests.support.outbox import deliver, send, set_list, take
from tests.support.portal import OPERATOR, configure, mail
from tests.support.smtp_server import SmtpServer

REAL = [f"real{number}@example.com" for number in range(4)]
TESTERS = [f"tester{number}@acme.example" for number in range(3)]
SENDER = "no-reply@acme.example"
# What apps write beside the usual, and servers or mail programs act on.
FIELDS = [
    "",
    'X-SMTPAPI: {"to": ["real0@example.com"]}\r\nSender: real1@example.com\r\n',
    "Reply-To: Real <real2@example.com>\r\nCc: real1@example.com\r\nList-Unsubscribe: <mailto:real3@example.com>\r\n",
    "Resent-To: real0@example.com\r\nMail-Followup-To: real1@example.com\r\nX-Invented: real2@example.com\r\n",
]


class MailAndToggles(RuleBasedStateMachine):
    """Members, apps, the server and workers act in any order.

    Members toggle and edit the list and the settings, leave the list, and retry, cancel, release and resend messages. Apps
    send, the server gives any answer, and workers die.
    """

    server: SmtpServer

    @initialize()
    def begin(self) -> None:
        Message.objects.all().delete()
        StageBackoff.objects.all().delete()
        self.app, self.stage = App.objects.get(key="crm"), Stage.objects.get(key="qa")
        self.server.rcpt = self.server.mail = self.server.data = lambda _: None
        self.server.arrived.clear()
        set_list(self.app, self.stage, active=False)
        configure(self.stage, self.server, from_domains="*", connections=1)
        self.active, self.listed = False, set[str]()
        self.accepted: set[int] = set()
        self.test_mail: set[int] = set()
        self.released: set[int] = set()
        self.cancelled: set[int] = set()
        self.seen = 0

    @rule(people=st.sets(st.sampled_from(TESTERS), min_size=1), active=st.booleans())
    def save_list(self, people: set[str], active: bool) -> None:
        set_list(self.app, self.stage, *sorted(people), active=active)
        self.active, self.listed = active, people
        if active:  # from here on, what waits is test mail too
            self.test_mail |= set(Message.objects.exclude(status__in=FINAL).values_list("pk", flat=True)) - self.released

    @rule()
    def everybody_on_the_list_is_removed(self) -> None:
        TestListAddress.objects.all().delete()
        self.listed = set()

    @rule(
        to=st.lists(st.sampled_from(REAL + TESTERS), min_size=1, max_size=4),
        sender=st.sampled_from(["crm@acme.example", *REAL]),
        fields=st.sampled_from(FIELDS),
    )
    def app_sends(self, to: list[str], sender: str, fields: str) -> None:
        content = fields.encode() + mail(to=", ".join(to), sender=sender)
        message = send(self.app, self.stage, *to, content=content, sender=sender)
        self.accepted.add(message.pk)
        if self.active:
            self.test_mail.add(message.pk)

    @precondition(lambda self: Message.objects.exists())
    @rule(chosen=st.integers(0), act=st.sampled_from([retry_now, cancel, release_held, resend, resend_to_real_recipients]))
    def person_acts(self, chosen: int, act: Any) -> None:
        message = Message.objects.order_by("pk")[chosen % Message.objects.count()]
        try:
            result = act(message, OPERATOR)
        except ValidationError:
            return
        if act == cancel:
            self.cancelled.add(message.pk)
        self.accepted.add(result.pk)
        if act in (release_held, resend_to_real_recipients):
            self.released.add(result.pk)
            self.test_mail.discard(result.pk)
        elif act == resend and (self.active or message.route != RouteKind.RECIPIENTS):
            self.test_mail.add(result.pk)

    @rule(
        where=st.sampled_from(["mail", "rcpt", "data"]),
        reply=st.sampled_from(["250 Ok", "250 Ok", "450 busy", "550 no", "421 bye"]),
    )
    def server_changes_its_mind(self, where: str, reply: str) -> None:
        setattr(self.server, where, lambda _: reply if reply != "250 Ok" else None)

    @rule()
    def worker_delivers(self) -> None:
        deliver()

    @rule()
    def pauses_end(self) -> None:
        past = timezone.now() - timedelta(seconds=1)
        Message.objects.filter(status__in=[Status.QUEUED, Status.DEFERRED]).update(due=past)
        Recipient.objects.filter(status__in=[Status.QUEUED, Status.DEFERRED]).update(due=past)
        StageBackoff.objects.update(retry_at=past)

    @rule()
    def worker_dies_in_hand_over(self) -> None:
        for claimed in take(self.stage, 2, owner="dead"):
            self.handed_over(claimed)
        Message.objects.filter(owner="dead").update(lease_until=timezone.now() - timedelta(seconds=1))
        sweep()

    @precondition(lambda self: Message.objects.filter(status=Status.HELD).exists())
    @rule()
    def held_mail_is_swept(self) -> None:
        sweep()

    def handed_over(self, claimed: ClaimedMessage) -> None:
        addresses = {recipient.address for recipient in claimed.recipients}
        if claimed.pk in self.test_mail:
            assert addresses <= set(TESTERS)
        if self.active and claimed.pk not in self.released:
            assert addresses <= self.listed

    @invariant()
    def mail_of_an_active_list_reached_nobody_else(self) -> None:
        by_message_id = dict(Message.objects.values_list("message_id", "pk")) if getattr(self, "accepted", None) else {}
        for arrived in self.server.arrived[getattr(self, "seen", 0) :]:
            message = by_message_id[arrived.mail["Message-ID"]]
            if self.active and message not in self.released:
                assert set(arrived.recipients) <= self.listed, (arrived.recipients, self.listed)
            if message in self.test_mail:
                assert set(arrived.recipients) <= set(TESTERS)
                assert strays(arrived.mail, [*TESTERS, "crm@acme.example"], SENDER) == []
                assert arrived.sender == SENDER
        self.seen = len(self.server.arrived)

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        if not getattr(self, "accepted", None):
            return
        messages = {message.pk: message for message in Message.objects.all()}
        assert set(messages) == self.accepted
        for message in messages.values():
            recipients = list(message.recipients.all())
            assert recipients or message.status not in FINAL or message.pk in self.cancelled
            if message.pk in self.released:
                assert {recipient.address for recipient in recipients} >= set(message.requested)
                assert all(recipient.address in message.requested for recipient in recipients if recipient.status not in FINAL)
                assert message.route == RouteKind.RELEASED
            if message.status == Status.SENT:
                assert all(recipient.status == Status.SENT for recipient in recipients)
            if message.pk in self.test_mail - self.cancelled and message.route == RouteKind.RECIPIENTS:
                assert message.status not in FINAL or not self.active

    def teardown(self) -> None:
        """Whatever happened, once the server answers and pauses end, everything reaches its end."""
        if not hasattr(self, "stage"):
            return
        self.server.rcpt = self.server.mail = self.server.data = lambda _: None
        self.save_list({TESTERS[0]}, self.active)
        for _ in range(3):
            self.pauses_end()
            sweep()
            deliver()
        assert set(Message.objects.values_list("status", flat=True)) <= {Status.SENT, Status.FAILED}


@pytest.mark.django_db(transaction=True)
def test_no_sequence_of_events_leaks_or_loses_a_mail(crm: App, qa: Stage, smtp_server: SmtpServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(MailAndToggles, "server", smtp_server, raising=False)
    examples = settings(
        max_examples=25,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(MailAndToggles, settings=examples)
