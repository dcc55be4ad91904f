"""A judge reads what really arrived, while people toggle test lists and policies, and workers and the gateway die.

Emails come through all entry points. JUDGE_EMAILS says how many.
"""

from __future__ import annotations

import contextlib
import os
import random
import smtplib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import make_msgid

import pytest
from django.core.mail import EmailMessage
from django.db import connection

from analytics import rollup
from analytics.guarantee.check import compare
from analytics.guarantee.report import guarantee_of
from analytics.models import CountedRule
from common.clock import database_now
from organization.credentials import create_credential
from organization.models import App, Stage
from organization.recipient_policy.changes import allow, change_policy, disallow
from organization.recipient_policy.changes import wait_until_none_in_flight as wait_for_stage
from organization.recipient_policy.policy import RecipientPolicy
from outbox.backend import EmailBackend
from outbox.models import WAITING, Message, Recipient, Rule, Status
from testlists.services import wait_until_none_in_flight
from tests.interop.processes import Process, printed
from tests.support.analytics import everything_counted
from tests.support.guarantee import all_access
from tests.support.header_judge import is_allowed, strays
from tests.support.outbox import now_due, set_list
from tests.support.portal import OPERATOR, configure, eventually
from tests.support.smtp_server import Arrived, SmtpServer, free_port, listening

EMAILS = int(os.environ.get("JUDGE_EMAILS", "2000"))
PATIENCE_FOR_ALL_SECONDS = 300 + EMAILS / 4
pytestmark = [
    pytest.mark.interop,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(2 * PATIENCE_FOR_ALL_SECONDS + 300),
]
WORKERS = 3
PATIENCE_SECONDS = 100.0
# What a killed worker had in hand counts as leaving until its lease has run out. Nobody waits for that: it is over then.
WAIT_SECONDS, LEASE_IS_OVER_SECONDS = 2.0, 75.0
# No lock is taken when an end comes by the clock: a claim that has read the time before it may commit this much later.
CLAIM_SECONDS = 5.0
# Clients wait while more emails are queued: what waits for long is caught by one change or another, and little is left to judge.
QUEUED_AT_MOST = 40
# The least share of recipients that each rule must have decided about.
LEAST_SHARE = 0.03
TESTERS = ["tester@acme.example", "tester-crm@acme.example", "tester-shop@acme.example"]
SENDER = "no-reply@acme.example"
DAN = "dan@partner.example"
PATTERNS = ["partner.example", DAN]
OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
FOREVER = float("inf")
DECIDING = (Rule.AS_APPS_ASK, Rule.TEST_LIST, Rule.ALLOWED, Rule.CAPTURED)
# How long each lasts: long enough for some to leave, and short where nothing leaves at all.
PHASES = {OPEN: (2.0, 5.0), LISTED: (1.0, 3.0), NOBODY: (0.2, 1.0)}


@dataclass
class Sent:
    """An email as its client knows it. Without `ended` the client doesn't know whether it was accepted."""

    app: str
    requested: frozenset[str]
    began: float
    ended: float = FOREVER


@dataclass
class ActivePeriod:
    """A list was Active from `committed` on, nothing was on the wire past it from `complete` on, and it was until `end`."""

    committed: float
    complete: float
    end: float = FOREVER

    def catches(self, sent: Sent, now: float) -> bool:
        """An email that was accepted before it ended is test mail: from the start, or once the activation is complete."""
        return sent.ended <= self.end and (sent.began >= self.committed or now >= self.complete)


@dataclass
class AllowedPeriod:
    """An entry was allowed from one policy version to another, and nothing was on the wire by it from `complete` on."""

    pattern: str
    since: int
    until: float = FOREVER  # a version
    complete: float = FOREVER

    def allows(self, version: int, now: float) -> bool:
        return self.since <= version <= self.until and now < self.complete


@dataclass
class Judge:
    """The log of all changes, and all arrivals. What each email may do follows from the policy version it was accepted under."""

    sent: dict[str, Sent] = field(default_factory=dict)
    lists: dict[str, list[ActivePeriod]] = field(default_factory=lambda: {"crm": [], "shop": []})
    policies: list[tuple[int, RecipientPolicy]] = field(default_factory=list)  # in force from this version on
    narrowed: list[tuple[float, int, RecipientPolicy]] = field(default_factory=list)  # complete then, for versions up to this
    allowed: list[AllowedPeriod] = field(default_factory=list)
    arrived: list[tuple[float, Arrived]] = field(default_factory=list)

    def look(self, arrived: Arrived) -> None:
        self.arrived.append((time.monotonic(), arrived))

    def leaks(self, versions: dict[str, int]) -> list[str]:
        return [leak for moment, arrived in self.arrived for leak in self._leaks_of(arrived, moment, versions)]

    def _leaks_of(self, arrived: Arrived, moment: float, versions: dict[str, int]) -> list[str]:
        message_id = arrived.mail["Message-ID"]
        sent, version = self.sent[message_id], versions[message_id]
        policy = self._policy(version, moment)
        is_test_mail = any(period.catches(sent, moment) for period in self.lists[sent.app])
        patterns = {period.pattern for period in self.allowed if period.allows(version, moment)}
        if policy == NOBODY:
            people = set()
        elif policy == OPEN and not is_test_mail:
            people = {*sent.requested, *TESTERS}
        else:
            people = {*TESTERS, *(address for address in sent.requested if is_allowed(address, patterns))}
        leaks = [f"{address} by {message_id}, {policy}" for address in set(arrived.recipients) - people]
        if policy != OPEN or is_test_mail or set(arrived.recipients) & set(TESTERS):
            leaks += strays(arrived.mail, [*TESTERS, "app@acme.example"], SENDER, allowed=patterns)
            leaks += [] if arrived.sender == SENDER else [f"envelope sender {arrived.sender}"]
        return leaks

    def _policy(self, version: int, moment: float) -> RecipientPolicy:
        """The narrowest that must hold by then for what was accepted under this version."""
        policy = max(entry for entry in self.policies if entry[0] <= version)[1]
        for complete, until_version, narrower in self.narrowed:
            if version <= until_version and complete <= moment:
                policy = policy.narrower_of(narrower)
        return policy


@contextlib.contextmanager
def threads(*works: Callable[[], None]) -> Iterator[None]:
    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failures.append(error)
            raise
        finally:
            connection.close()

    failures: list[Exception] = []
    started = [threading.Thread(target=run, args=[work], daemon=True) for work in works]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        for thread in started:
            thread.join(PATIENCE_SECONDS + 30)
    assert failures == []


def when_complete(wait: Callable[[float], int]) -> float:
    """When nothing is on the wire past a change that was made now."""
    committed = time.monotonic()
    return time.monotonic() if wait(WAIT_SECONDS) == 0 else committed + LEASE_IS_OVER_SECONDS


class People:
    """Four of them change what decides who gets an email, until they are told to stop."""

    def __init__(self, judge: Judge, stage: Stage, stop: threading.Event) -> None:
        self.judge, self.stage, self._stop = judge, stage, stop
        self.changes: Counter[str] = Counter()
        self._dice = random.Random(11)

    def toggle_list(self, app: App) -> None:
        testers = [TESTERS[0], f"tester-{app.key}@acme.example"]
        while not self._stop.is_set():
            activated = set_list(app, self.stage, *testers)
            committed = time.monotonic()
            period = ActivePeriod(committed, when_complete(lambda seconds: wait_until_none_in_flight(activated, seconds)))  # noqa: B023
            self.judge.lists[app.key].append(period)
            self._pause(0.2, 2.0)
            period.end = time.monotonic()
            self.changes[f"list of {app.key}"] += 1
            set_list(app, self.stage, *testers, active=False)
            self._pause(1.0, 4.0)

    def change_policy(self) -> None:
        while not self._stop.is_set():
            for policy in (LISTED, OPEN, NOBODY, OPEN):
                self._put(policy)
                self._pause(*PHASES[policy])
            self._put(LISTED)
            self._pause(*PHASES[LISTED])
            self._put_until_it_ends(OPEN, leads_back_to=LISTED)
        self._put(LISTED)

    def _put(self, policy: RecipientPolicy, **options: object) -> int:
        """Returns its version."""
        name = self.stage.name
        version = change_policy(self.stage, policy, OPERATOR, typed_stage_name=name, **options).policy_version  # type: ignore[arg-type]
        self.judge.policies.append((version, policy))
        if policy != OPEN:
            self._note_narrowed(version, policy)
        self.changes["policy"] += 1
        return version

    def _put_until_it_ends(self, policy: RecipientPolicy, *, leads_back_to: RecipientPolicy) -> None:
        end = database_now() + timedelta(seconds=4)
        version = self._put(policy, until=end)
        eventually(lambda: database_now() > end)
        self._pause(CLAIM_SECONDS, CLAIM_SECONDS)
        self._note_narrowed(version, leads_back_to)

    def _note_narrowed(self, version: int, policy: RecipientPolicy) -> None:
        complete = when_complete(lambda seconds: wait_for_stage(self.stage, seconds))
        self.judge.narrowed.append((complete, version, policy))

    def change_allowed(self) -> None:
        while not self._stop.is_set():
            for pattern in PATTERNS:
                (entry,) = allow(self.stage, [pattern], OPERATOR, typed_stage_name=self.stage.name)
                period = AllowedPeriod(pattern, entry.version)
                self.judge.allowed.append(period)
                self._pause(0.5, 3.0)
                disallow(self.stage, pattern, OPERATOR)
                period.until = Stage.objects.get(pk=self.stage.pk).policy_version  # or a little later
                period.complete = when_complete(lambda seconds: wait_for_stage(self.stage, seconds))
                self.changes["allowed"] += 1
                self._pause(0.1, 1.0)

    def _pause(self, shortest: float, longest: float) -> None:
        self._stop.wait(self._dice.uniform(shortest, longest))


class Clients:
    """Apps that send until so many emails were accepted. What wasn't for certain isn't sent again."""

    def __init__(self, judge: Judge, stage: Stage, stop: threading.Event) -> None:
        self._judge, self._stage, self._stop, self._dice = judge, stage, stop, random.Random(12)

    def through_django(self, app: App) -> None:
        backend = EmailBackend(app=app.key, stage=self._stage.key)
        while not self._stop.is_set():
            emails, sent = zip(*(self._next(app, "django") for _ in range(5)), strict=True)
            backend.send_messages(list(emails))
            for each in sent:
                each.ended = time.monotonic()
            self._wait_for_room()

    def through_gateway(self, app: App, port: int, username: str, password: str) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(smtplib.SMTPException, OSError), smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
                smtp.login(username, password)
                while not self._stop.is_set():
                    email, sent = self._next(app, "gateway")
                    smtp.sendmail(email.from_email, email.recipients(), email.message().as_bytes())
                    sent.ended = time.monotonic()
                    self._wait_for_room()
            time.sleep(0.2)

    def _wait_for_room(self) -> None:
        """Never faster than the workers, and no faster where all that is sent is captured at once."""
        time.sleep(0.02)
        while not self._stop.is_set() and Message.objects.filter(stage=self._stage, status__in=WAITING).count() > QUEUED_AT_MOST:
            time.sleep(0.05)

    def _next(self, app: App, entry_point: str) -> tuple[EmailMessage, Sent]:
        real = [f"real{number}@{app.key}.example" for number in range(2)]
        to = self._dice.choice([real, real[:1], [*real, DAN], [DAN], [DAN]])
        acted_on = {"X-SMTPAPI": f'{{"to": ["{real[0]}"]}}', "Sender": real[1], "List-Unsubscribe": f"<mailto:{real[0]}>"}
        headers = {"Message-ID": make_msgid(), **acted_on}
        email = EmailMessage(entry_point, "Hi", "app@acme.example", to[:1], bcc=to[1:], reply_to=real[:1], headers=headers)
        sent = self._judge.sent[headers["Message-ID"]] = Sent(app.key, frozenset(to), time.monotonic())
        return email, sent


def kill_now_and_then(processes: list[Process], stop: threading.Event, kills: Counter[str]) -> None:
    dice = random.Random(13)
    while not stop.wait(dice.uniform(8, 15)):
        victim = dice.choice(processes)
        victim.kill()
        victim.start()
        kills[victim.command[2]] += 1


def _compare_with_guarantee(stage: Stage, judge: Judge) -> None:
    """Whom a dead worker was sending to may have got it: that is what the guarantee says, too."""
    everything_counted()
    now = database_now()
    shown = guarantee_of(all_access(stage), now - timedelta(hours=2), now)
    printed(f"guarantee: {shown.promise}, {dict(shown.total.recipients)}, no answer {dict(shown.total.unknown)}")
    arrived = Counter(address in TESTERS for _, arrived in judge.arrived for address in arrived.recipients)
    listed = {CountedRule.TEST_LIST}
    for is_tester, rules in ((True, listed), (False, set(CountedRule) - listed)):
        certain = sum(shown.total.recipients[rule] for rule in rules)
        assert certain <= arrived[is_tester] <= certain + sum(shown.total.unknown[rule] for rule in rules)
    assert shown.total.while_closed == 0
    assert shown.total.captured == Recipient.objects.filter(status=Status.CAPTURED).count()
    assert all(row.fits for row in compare(shown.access, shown.since, shown.total))


def test_no_change_no_entry_point_and_no_death_lets_an_email_out(
    crm: App, shop: App, qa: Stage, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "LAG", timedelta(0))
    judge, stop, kills = Judge(policies=[(0, OPEN)]), threading.Event(), Counter[str]()
    people, clients = People(judge, qa, stop), Clients(judge, qa, stop)
    with SmtpServer(data=judge.look, pipelining=True) as server, contextlib.ExitStack() as stack:
        configure(qa, server, from_domains="*", connections=6)
        port = free_port()
        gateway = Process(sys.executable, "manage.py", "smtp_gateway", "--port", str(port), output=tmp_path / "gateway")
        workers = [
            Process(sys.executable, "manage.py", "deliver", output=tmp_path / f"worker{number}") for number in range(WORKERS)
        ]
        for process in (gateway, *workers):
            stack.callback(process.end)
        eventually(lambda: listening(port))
        secrets = {app: create_credential(app, qa, OPERATOR) for app in (crm, shop)}
        works = [work for app, new in secrets.items() for work in (
            lambda app=app: clients.through_django(app),
            lambda app=app, new=new: clients.through_gateway(app, port, new.credential.username, new.password),
            lambda app=app: people.toggle_list(app),
        )]  # fmt: skip
        began = time.monotonic()
        with threads(
            *works, people.change_policy, people.change_allowed, lambda: kill_now_and_then([gateway, *workers], stop, kills)
        ):
            try:
                eventually(
                    lambda: sum(sent.ended < FOREVER for sent in list(judge.sent.values())) >= EMAILS, PATIENCE_FOR_ALL_SECONDS
                )
            finally:
                stop.set()
        seconds = time.monotonic() - began
        printed(f"{sum(sent.ended < FOREVER for sent in judge.sent.values())} accepted, {dict(people.changes)}, {dict(kills)}")
        # What a killed worker had in hand comes back when its lease has run out.
        ends = (Status.SENT, Status.CAPTURED)
        eventually(lambda: now_due() or not Message.objects.exclude(status__in=ends).exists(), PATIENCE_FOR_ALL_SECONDS)
    accepted = {message_id for message_id, sent in judge.sent.items() if sent.ended < FOREVER}
    rows = dict(Message.objects.values_list("message_id", "policy_version"))
    leaks = judge.leaks(rows)
    recipients = Counter(Recipient.objects.values_list("status", "rule"))
    printed(
        f"{len(accepted)} emails accepted in {seconds:.0f} s, {len(judge.arrived)} arrivals, recipients: {dict(recipients)}; "
        f"changes: {dict(people.changes)}; kills: {dict(kills)}; outside: {len(leaks)}"
    )
    assert leaks == []
    _compare_with_guarantee(qa, judge)
    assert accepted <= set(rows)
    assert not Recipient.objects.exclude(status__in=ends).exists()
    reached = {arrived.mail["Message-ID"] for _, arrived in judge.arrived}
    assert set(Message.objects.filter(recipients__status=Status.SENT).values_list("message_id", flat=True)) <= reached
    assert min(people.changes.values()) > 3
    decided = Counter(Recipient.objects.values_list("rule", flat=True))
    assert min(decided[rule] for rule in DECIDING) > LEAST_SHARE * decided.total(), decided
