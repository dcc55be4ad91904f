"""The promises under every order of events: nothing accepted is lost, and nobody gets an email whom list and policy keep out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from common.addresses import NamedAddress
from common.clock import database_now
from delivery.models import StageBackoff
from delivery.worker import sweep
from organization.access import Scope
from organization.kept_headers.changes import keep_header, stop_keeping_header
from organization.models import AllowedAddress, App, KeptHeader, Stage
from organization.recipient_policy.changes import allow, change_policy, disallow
from organization.recipient_policy.policy import RecipientPolicy
from outbox.actions import cancel, release_held, resend, resend_to_real_recipients, retry_now
from outbox.holding.held_mail import Choice, answer
from outbox.holding.pauses import pause, resume
from outbox.models import FINAL, HeldAnswer, Message, Pause, Recipient, RouteKind, Status
from testlists.models import TestListAddress
from testlists.services import ListChange, save_test_list
from tests.support.header_judge import is_allowed, strays
from tests.support.outbox import deliver, now_due, send, set_list, take
from tests.support.portal import OPERATOR, configure, mail
from tests.support.smtp_server import SmtpServer
from tests.support.testlists import time_goes_by

OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
REAL = [f"real{number}@example.com" for number in range(4)]
TESTERS = [f"tester{number}@acme.example" for number in range(3)]
PARTNERS = ["dan@allowed.example", "eva@allowed.example"]
PATTERNS = ["allowed.example", "dan@allowed.example", "real0@example.com"]
SENDER = "no-reply@acme.example"
# What apps write beside the usual, and servers or mail programs act on.
FIELDS = [
    "",
    'X-SMTPAPI: {"to": ["real0@example.com"]}\r\nSender: real1@example.com\r\n',
    "Reply-To: Real <real2@example.com>\r\nCc: real1@example.com\r\nList-Unsubscribe: <mailto:real3@example.com>\r\n",
    "Resent-To: real0@example.com\r\nMail-Followup-To: real1@example.com\r\nX-Invented: real2@example.com\r\n",
    "Reply-To: dan@allowed.example\r\nCc: Eva <eva@allowed.example>\r\nX-Acme-Order: 42\r\n",
    "X-Acme-Order: real1@example.com\r\n",
]
KEPT = "X-Acme-Order"


@dataclass
class Promise:
    """What was promised for one email when it was accepted, and what has become of that since. It only ever narrows."""

    requested: set[str]
    open: bool  # the policy was as apps ask and the list Inactive, all the time
    silenced: bool  # the stage captured everything at some time
    test_mail: bool  # the list was Active at some time
    allowed: set[str]  # addresses and domains that were allowed all the time
    kept: set[str]  # header fields that test mail kept all the time
    released: bool = False  # a person sent it to its real recipients

    def people(self, listed: Iterable[str]) -> set[str]:
        """Who may get it, where the test list is `listed`."""
        if self.silenced:
            return set()
        if self.released or self.open:
            return self.requested
        allowed = {address for address in self.requested if is_allowed(address, self.allowed)}
        return allowed | (set(listed) if self.test_mail else set())


class MailAndToggles(RuleBasedStateMachine):
    """Members, apps, the server and workers act in any order.

    Members toggle and edit the list, the policy, what is allowed and kept, and the settings, leave the list, retry, cancel,
    release and resend messages, pause and resume, and answer for what is held. Ends pass, apps send, the server gives any answer,
    and workers die.
    """

    server: SmtpServer

    @initialize()
    def begin(self) -> None:
        for model in (HeldAnswer, Message, StageBackoff, AllowedAddress, KeptHeader, Pause):
            model.objects.all().delete()
        self.app, self.stage = App.objects.get(key="crm"), Stage.objects.get(key="qa")
        self.server.rcpt = self.server.mail = self.server.data = lambda _: None
        self.server.arrived.clear()
        set_list(self.app, self.stage, active=False)
        self._change(OPEN)
        configure(self.stage, self.server, from_domains="*", connections=1)
        self.active, self.listed = False, set[str]()
        self.has_end = self.expired = False
        self.is_paused = False
        self.policy, self.afterwards = OPEN, None
        self.allowed, self.kept = set[str](), set[str]()
        self.promises: dict[int, Promise] = {}
        self.cancelled: set[int] = set()
        self.seen = 0

    @rule(people=st.sets(st.sampled_from(TESTERS), min_size=1), active=st.booleans(), has_end=st.booleans())
    def save_list(self, people: set[str], active: bool, has_end: bool = False) -> None:
        until = database_now() + timedelta(hours=1) if has_end else None
        change = ListChange(active, False, [], [NamedAddress(person) for person in sorted(people)], until)
        save_test_list(self.app, self.stage, change, OPERATOR)
        self.active, self.listed, self.has_end, self.expired = active, people, active and has_end, False
        if active:  # from here on, what waits is test mail too
            for number in Message.objects.exclude(status__in=FINAL).values_list("pk", flat=True):
                self.promises[number].test_mail, self.promises[number].open = True, False

    @precondition(lambda self: self.has_end)
    @rule()
    def the_list_ends(self) -> None:
        time_goes_by(self.app, self.stage)
        self.active, self.has_end, self.expired = False, False, True

    @precondition(lambda self: self.expired)
    @rule(active=st.booleans())
    def a_person_decides_about_the_list(self, active: bool) -> None:
        self.save_list(set(TESTERS), active)

    @rule(of_app=st.booleans(), carried_out=st.booleans(), held=st.sampled_from([None, *Choice]))
    def a_person_pauses_for_a_while(self, of_app: bool, carried_out: bool, held: Choice | None) -> None:
        """In one step, because nothing leaves meanwhile. If the portal died at its commit, only hand-over knows of it."""
        place = Scope(self.app if of_app else None, self.stage)
        if carried_out:
            pause(place, "Tests", OPERATOR)
        else:
            Pause.objects.create(stage=self.stage, app=place.app, by="Tests", reason="Tests")
        self.is_paused = True
        self.app_sends([REAL[0]], "crm@acme.example", "")
        self.worker_dies_in_hand_over()
        deliver()
        self.nobody_else_was_reached()
        self.is_paused = False
        resume(place, OPERATOR, held=held)
        self._note_discarded()

    @precondition(lambda self: Message.objects.filter(status=Status.HELD).exists())
    @rule(choice=st.sampled_from(Choice))
    def a_person_answers_for_what_is_held(self, choice: Choice) -> None:
        with suppress(ValidationError):  # nothing asks
            answer(Scope(stage=self.stage), choice, OPERATOR)
        self._note_discarded()

    def _note_discarded(self) -> None:
        discarded = Recipient.objects.filter(last_reply__startswith="Discarded")
        self.cancelled |= set(discarded.values_list("message_id", flat=True))

    @rule()
    def everybody_on_the_list_is_removed(self) -> None:
        TestListAddress.objects.all().delete()
        self.listed = set()

    @rule(policy=st.sampled_from([OPEN, LISTED, NOBODY]))
    def the_policy_is_changed_and_back(self, policy: RecipientPolicy) -> None:
        """In one step, because only what waits meanwhile can tell, and that is rare by chance."""
        before = self.policy
        self.app_sends([REAL[0]], "crm@acme.example", "")
        self.change_the_policy(policy, None)
        self.change_the_policy(before, None)

    @rule(pattern=st.sampled_from(PATTERNS), by_the_clock=st.booleans())
    def an_address_is_not_allowed_for_a_moment(self, pattern: str, by_the_clock: bool) -> None:
        self.an_address_is_allowed(pattern)
        self.app_sends(PARTNERS[:1], "crm@acme.example", "")
        self.an_address_is_not_allowed_any_more(pattern, by_the_clock)
        self.an_address_is_allowed(pattern)

    @rule()
    def a_wider_policy_has_an_end_and_becomes_narrower(self) -> None:
        self.change_the_policy(NOBODY, None)
        self.change_the_policy(OPEN, 1)
        self.change_the_policy(LISTED, None)

    @rule(policy=st.sampled_from([LISTED, NOBODY]))
    def a_wider_policy_comes_to_its_end(self, policy: RecipientPolicy) -> None:
        self.change_the_policy(policy, None)
        self.change_the_policy(OPEN, 1)
        self.app_sends([REAL[1]], "crm@acme.example", "")
        self.the_policy_ends()

    @rule(policy=st.sampled_from([OPEN, LISTED, NOBODY]), hours=st.sampled_from([None, 1, 2]))
    def change_the_policy(self, policy: RecipientPolicy, hours: int | None) -> None:
        try:
            self._change(policy, database_now() + timedelta(hours=hours) if hours else None)
        except ValidationError:  # a narrower policy has no end
            assert hours
            return
        leads_back = self.afterwards if self.afterwards is not None else self.policy
        keeps_its_end = hours or self.policy.is_wider_than(policy)
        self.afterwards = leads_back if keeps_its_end and policy.is_wider_than(leads_back) else None
        self._is_in_force(policy)

    def _change(self, policy: RecipientPolicy, until: Any = None) -> None:
        change_policy(self.stage, policy, OPERATOR, until=until, typed_stage_name=self.stage.name)

    @precondition(lambda self: self.afterwards is not None)
    @rule()
    def the_policy_ends(self) -> None:
        Stage.objects.update(policy_until=timezone.now() - timedelta(seconds=1))
        policy, self.afterwards = self.afterwards, None
        assert policy is not None
        self._is_in_force(policy)

    def _is_in_force(self, policy: RecipientPolicy) -> None:
        self.policy = policy
        for promise in self.promises.values():
            promise.open &= policy == OPEN
            promise.silenced |= policy == NOBODY

    @rule(pattern=st.sampled_from(PATTERNS))
    def an_address_is_allowed(self, pattern: str) -> None:
        allow(self.stage, [pattern], OPERATOR, typed_stage_name=self.stage.name)
        self.allowed.add(pattern)

    @rule(pattern=st.sampled_from(PATTERNS), by_the_clock=st.booleans())
    def an_address_is_not_allowed_any_more(self, pattern: str, by_the_clock: bool) -> None:
        if by_the_clock:
            AllowedAddress.objects.filter(pattern=pattern).update(until=timezone.now() - timedelta(seconds=1))
        elif AllowedAddress.objects.filter(pattern=pattern).exists():
            disallow(self.stage, pattern, OPERATOR)
        self.allowed.discard(pattern)
        for promise in self.promises.values():
            promise.allowed.discard(pattern)

    @rule()
    def a_header_field_is_kept_or_not(self) -> None:
        if kept := KeptHeader.objects.first():
            stop_keeping_header(kept, OPERATOR)
        else:
            keep_header(self.stage, KEPT, OPERATOR, typed_stage_name=self.stage.name)
        self.kept ^= {KEPT.lower()}
        for promise in self.promises.values():
            promise.kept &= self.kept

    def promise(self, message: Message, **options: bool) -> None:
        self.promises[message.pk] = Promise(
            requested=set(message.requested),
            open=options.get("open", True) and self.policy == OPEN and not self.active,
            silenced=self.policy == NOBODY,
            test_mail=options.get("test_mail", False) or self.active,
            allowed=set(self.allowed),
            kept=set(self.kept),
            released=options.get("released", False),
        )

    @rule(
        to=st.lists(st.sampled_from(REAL + TESTERS + PARTNERS), min_size=1, max_size=4)
        | st.lists(st.sampled_from([*PARTNERS, REAL[0]]), min_size=1, max_size=2),
        sender=st.sampled_from(["crm@acme.example", *REAL]),
        fields=st.sampled_from(FIELDS),
    )
    def app_sends(self, to: list[str], sender: str, fields: str) -> None:
        content = fields.encode() + mail(to=", ".join(to), sender=sender)
        self.promise(send(self.app, self.stage, *to, content=content, sender=sender))

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
        elif act in (release_held, resend_to_real_recipients):
            self.promise(result, released=True)
        elif act == resend:
            was_test_mail = message.route in (RouteKind.TEST_LIST, RouteKind.RELEASED)
            self.promise(result, open=message.route == RouteKind.RECIPIENTS, test_mail=was_test_mail)

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
        now_due()

    @rule()
    def worker_dies_in_hand_over(self) -> None:
        messages = take(self.stage, 2)
        for claimed in messages:
            self._reaches(claimed.pk, {recipient.address for recipient in claimed.recipients})
        abandoned = Message.objects.filter(owner__in={claimed.owner for claimed in messages})
        abandoned.update(lease_until=timezone.now() - timedelta(seconds=1))
        sweep()

    @precondition(lambda self: Message.objects.filter(status=Status.HELD).exists())
    @rule()
    def held_mail_is_swept(self) -> None:
        sweep()

    def _reaches(self, message: int, addresses: set[str]) -> None:
        promise = self.promises[message]
        people = promise.people(self.listed if self.active else TESTERS)
        if self.expired and self.policy == OPEN and not promise.released:  # a person decides first
            people = {address for address in people if address in TESTERS or is_allowed(address, promise.allowed)}
        assert not self.is_paused
        assert addresses <= people, (addresses, people, self.promises[message])

    @invariant()
    def nobody_else_was_reached(self) -> None:
        by_message_id = dict(Message.objects.values_list("message_id", "pk")) if getattr(self, "promises", None) else {}
        for arrived in self.server.arrived[getattr(self, "seen", 0) :]:
            message = by_message_id[arrived.mail["Message-ID"]]
            self._reaches(message, set(arrived.recipients))
            promise = self.promises[message]
            if not promise.open and not promise.released:
                people = [*(TESTERS if promise.test_mail else []), "crm@acme.example"]
                assert strays(arrived.mail, people, SENDER, promise.kept, promise.allowed) == []
                assert arrived.sender == SENDER
        self.seen = len(self.server.arrived)

    @invariant()
    def nothing_accepted_is_lost(self) -> None:
        if not getattr(self, "promises", None):
            return
        messages = {message.pk: message for message in Message.objects.all()}
        assert set(messages) == set(self.promises)
        for message in messages.values():
            recipients, promise = list(message.recipients.all()), self.promises[message.pk]
            addresses = {recipient.address for recipient in recipients}
            assert recipients or message.status not in FINAL or message.pk in self.cancelled
            if message.route != RouteKind.TEST_LIST:
                assert addresses >= set(message.requested)  # each of them waits, or has come to its end
            if promise.released:
                assert all(recipient.address in message.requested for recipient in recipients if recipient.status not in FINAL)
                assert message.route in (RouteKind.RELEASED, RouteKind.CAPTURED)
            if message.status == Status.SENT:
                assert all(recipient.status == Status.SENT for recipient in recipients)
            if promise.test_mail and message.pk not in self.cancelled and message.route == RouteKind.RECIPIENTS:
                assert message.status not in FINAL or not self.active

    def teardown(self) -> None:
        """Whatever happened, once the server answers and pauses end, everything reaches its end."""
        if not hasattr(self, "promises"):
            return
        self.server.rcpt = self.server.mail = self.server.data = lambda _: None
        self.save_list({TESTERS[0]}, self.active)
        for _ in range(3):
            self.pauses_end()
            sweep()
            self.a_person_answers_for_what_is_held(Choice.DELIVER)
            deliver()
        self.nobody_else_was_reached()
        self.nothing_accepted_is_lost()
        ends = {Status.SENT, Status.FAILED, Status.CAPTURED}
        assert set(Message.objects.values_list("status", flat=True)) <= ends
        assert set(Recipient.objects.values_list("status", flat=True)) <= ends


@pytest.mark.django_db(transaction=True)
def test_no_sequence_of_events_leaks_or_loses_a_mail(crm: App, qa: Stage, smtp_server: SmtpServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(MailAndToggles, "server", smtp_server, raising=False)
    examples = settings(
        max_examples=40,
        stateful_step_count=25,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(MailAndToggles, settings=examples)
