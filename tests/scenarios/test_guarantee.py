"""A judge compares the guarantee's figures with what really arrived at the server, whatever people change meanwhile."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import timedelta

import pytest

from analytics import rollup
from analytics.guarantee.check import compare
from analytics.guarantee.report import Promise, guarantee_of
from common.clock import database_now
from organization.models import AllowedAddress, App, Stage
from organization.recipient_policy.changes import allow, change_policy, disallow
from organization.recipient_policy.policy import RecipientPolicy
from outbox.actions import resend_to_real_recipients, send_to_test_list
from outbox.models import FINAL, Message, Recipient, Status
from tests.support.analytics import everything_counted
from tests.support.guarantee import all_access, reached
from tests.support.outbox import deliver, now_due, send, set_list
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer

OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
STEPS = int(os.environ.get("GUARANTEE_STEPS", "80"))
REAL = [f"real{number}@example.com" for number in range(3)]  # never allowed
TESTERS = ["tester0@acme.example", "tester1@acme.example"]
DAN = "dan@allowed.example"


class Judge:
    """People and apps who act by chance, and what the server got: in all, and outside the lists by no person's act."""

    def __init__(self, stage: Stage, apps: list[App], server: SmtpServer) -> None:
        self.stage, self.apps, self.server = stage, apps, server
        self.dice = random.Random(19)
        self.released: set[str] = set()
        self.policy, self.active = OPEN, {app.key: False for app in apps}
        self.seen, self.to_testers, self.outside, self.leaked = 0, 0, Counter[str](), 0

    def app_sends(self) -> None:
        app = self.dice.choice(self.apps)
        send(app, self.stage, *self.dice.sample([*REAL, *([DAN] if app.key == "shop" else [])], 2))

    def policy_is_changed(self, policy: RecipientPolicy | None = None) -> None:
        self.policy = policy or self.dice.choice([OPEN, OPEN, LISTED, NOBODY])
        change_policy(self.stage, self.policy, OPERATOR, typed_stage_name=self.stage.name)

    def list_is_toggled(self) -> None:
        app = self.dice.choice(self.apps)
        self.active[app.key] = not self.active[app.key]
        set_list(app, self.stage, *TESTERS, active=self.active[app.key])

    def allowed_addresses_are_changed(self) -> None:
        if AllowedAddress.objects.exists():
            disallow(self.stage, DAN, OPERATOR)
        else:
            allow(self.stage, [DAN], OPERATOR, typed_stage_name=self.stage.name)

    def person_acts(self) -> None:
        captured = Recipient.objects.filter(status=Status.CAPTURED, message__status__in=FINAL)
        finished = list(Message.objects.filter(status__in=FINAL, resent_as=None).order_by("pk"))
        if captured.exists() and self.dice.random() < 0.3 and all(self.active.values()):
            send_to_test_list(captured.latest("pk").message, OPERATOR)
        if finished and self.policy != NOBODY:
            self.released.add(str(resend_to_real_recipients(self.dice.choice(finished), OPERATOR).pk))

    def server_defers_once(self) -> None:
        self.server.rcpt = lambda _: "450 busy"
        deliver()
        self.server.rcpt = lambda _: None

    def delivered(self) -> None:
        now_due()
        deliver()
        numbers = {
            message_id: (str(pk), app) for message_id, pk, app in Message.objects.values_list("message_id", "pk", "app__key")
        }
        for arrived in self.server.arrived[self.seen :]:
            number, app = numbers[arrived.mail["Message-ID"]]
            testers = set(arrived.recipients) & set(TESTERS)
            self.to_testers += len(testers)
            if number not in self.released:
                self.outside[app] += len(set(arrived.recipients) & set(REAL))
                closed = self.policy != OPEN or self.active[app]
                self.leaked += closed and bool(set(arrived.recipients) & set(REAL))
        self.seen = len(self.server.arrived)


@pytest.mark.django_db(transaction=True)
def test_the_guarantee_says_what_really_arrived(crm: App, shop: App, qa: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "LAG", timedelta(0))
    with SmtpServer(pipelining=True) as server:
        _compare_with(server, crm, shop, qa)


def _compare_with(smtp_server: SmtpServer, crm: App, shop: App, qa: Stage) -> None:
    configure(qa, smtp_server, from_domains="*")
    judge, began = Judge(qa, [crm, shop], smtp_server), database_now()
    acts = [
        *[judge.app_sends] * 8,
        *(judge.policy_is_changed, judge.list_is_toggled, judge.allowed_addresses_are_changed),
        *(judge.person_acts, judge.server_defers_once, judge.delivered),
    ]
    send(crm, qa, *REAL)
    judge.delivered()
    for step in range(STEPS):
        judge.dice.choice(acts)()
        if step % 10 == 0:
            everything_counted()
    judge.policy_is_changed(LISTED)
    judge.delivered()
    judge.person_acts()
    judge.delivered()
    everything_counted()
    shown = guarantee_of(all_access(qa), began, database_now(), each_app=True)
    total, crms = reached(shown.total), reached(shown.by_app[crm])
    assert sum(total.values()) == sum(len(arrived.recipients) for arrived in smtp_server.arrived)
    assert total.get("list", 0) + total.get("forwarded", 0) == judge.to_testers > 0
    assert crms.get("open", 0) == judge.outside["crm"] > 0
    assert shown.total.captured == Recipient.objects.filter(status=Status.CAPTURED).count() > 0
    assert (shown.total.while_closed, judge.leaked) == (0, 0)
    assert shown.promise != Promise.BROKEN
    assert shown.total.emails == Message.objects.count()
    assert [row for row in compare(shown.access, shown.since, shown.total) if not row.fits] == []
    released = Recipient.objects.filter(message__in=judge.released, status=Status.SENT)
    assert total.get("released", 0) == released.count() > 0
