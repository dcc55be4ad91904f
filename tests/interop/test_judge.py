"""A judge that reads what really arrived, while people toggle test lists, mail flows through all entry points and workers die."""

from __future__ import annotations

import contextlib
import random
import smtplib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import make_msgid

import pytest
from django.core.mail import EmailMessage
from django.db import connection

from organization.credentials import create_credential
from organization.models import App, Stage
from outbox.backend import EmailBackend
from outbox.models import Message, Recipient, Status
from testlists.services import wait_until_none_in_flight
from tests.interop.processes import Process, printed
from tests.support.header_judge import strays
from tests.support.outbox import now_due, set_list
from tests.support.portal import OPERATOR, configure, eventually, running_gateway
from tests.support.smtp_server import Arrived, SmtpServer

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

SECONDS = 90.0
WORKERS = 3
# A killed worker's hand-overs count as leaving until their lease has run out.
PATIENCE_SECONDS = 100.0
TESTERS = ["tester@acme.example", "tester-crm@acme.example", "tester-shop@acme.example"]
SENDER = "no-reply@acme.example"


@dataclass
class Judge:
    """Knows for which apps Save has reported that nothing leaves for real people any more, and looks at every arrival."""

    protected: set[str] = field(default_factory=set)
    leaks: list[str] = field(default_factory=list)
    arrived: dict[str, int] = field(default_factory=dict)

    def look(self, arrived: Arrived) -> None:
        protected = set(self.protected)
        for address in arrived.recipients:
            if any(address.endswith(f"@{app}.example") for app in protected):
                self.leaks.append(f"{address}, {arrived.mail['Subject']}")
        if set(arrived.recipients) & set(TESTERS):
            self.leaks += strays(arrived.mail, [*TESTERS, "app@acme.example"], SENDER)
            if arrived.sender != SENDER:
                self.leaks.append(f"envelope sender {arrived.sender}")
        message_id = arrived.mail["Message-ID"]
        self.arrived[message_id] = self.arrived.get(message_id, 0) + 1


@contextlib.contextmanager
def threads(*works: object) -> Iterator[None]:
    started = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in started:
        thread.start()
    try:
        yield
    finally:
        for thread in started:
            thread.join(PATIENCE_SECONDS + 30)


def test_no_toggle_no_door_and_no_death_lets_test_mail_out(crm: App, shop: App, qa: Stage, tmp_path) -> None:
    judge, stop, accepted, toggles = Judge(), threading.Event(), set[str](), {"crm": 0, "shop": 0}
    dice = random.Random(11)

    def mail(app: App, entry_point: str) -> EmailMessage:
        real = [f"real{number}@{app.key}.example" for number in range(2)]
        acted_on = {"X-SMTPAPI": f'{{"to": ["{real[0]}"]}}', "Sender": real[1], "List-Unsubscribe": f"<mailto:{real[0]}>"}
        headers = {"Message-ID": make_msgid(), **acted_on}
        return EmailMessage(entry_point, "Hi", "app@acme.example", real[:1], bcc=real[1:], reply_to=real[:1], headers=headers)

    def through_django(app: App) -> None:
        backend = EmailBackend(app=app.key, stage=qa.key)
        while not stop.is_set():
            email = mail(app, "django")
            backend.send_messages([email])
            accepted.add(email.extra_headers["Message-ID"])
            time.sleep(0.04)
        connection.close()

    def through_gateway(app: App, port: int, username: str, password: str) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
            smtp.login(username, password)
            while not stop.is_set():
                email = mail(app, "gateway")
                smtp.sendmail(email.to[0], email.recipients(), email.message().as_bytes())
                accepted.add(email.extra_headers["Message-ID"])
                time.sleep(0.04)

    def toggle(app: App) -> None:
        testers = [TESTERS[0], f"tester-{app.key}@acme.example"]
        while not stop.is_set():
            activated = set_list(app, qa, *testers)
            if wait_until_none_in_flight(activated, PATIENCE_SECONDS) == 0:
                judge.protected.add(app.key)
                time.sleep(dice.uniform(0.2, 2.0))
                judge.protected.discard(app.key)
                toggles[app.key] += 1
            set_list(app, qa, *testers, active=False)
            time.sleep(dice.uniform(0.1, 1.0))
        connection.close()

    def kill(workers: list[Process]) -> None:
        while not stop.wait(dice.uniform(8, 15)):
            victim = dice.choice(workers)
            victim.kill()
            victim.start()

    with SmtpServer(data=judge.look, pipelining=True) as server, running_gateway() as port, contextlib.ExitStack() as stack:
        configure(qa, server, from_domains="*", connections=6)
        secrets = {app: create_credential(app, qa, OPERATOR) for app in (crm, shop)}
        workers = [
            Process(sys.executable, "manage.py", "deliver", output=tmp_path / f"worker{number}") for number in range(WORKERS)
        ]
        for worker in workers:
            stack.callback(worker.end)
        entry_points = [work for app, new in secrets.items() for work in (
            lambda app=app: through_django(app),
            lambda app=app, new=new: through_gateway(app, port, new.credential.username, new.password),
            lambda app=app: toggle(app),
        )]  # fmt: skip
        with threads(*entry_points, lambda: kill(workers)):
            time.sleep(SECONDS)
            stop.set()
        printed(f"{len(accepted)} messages accepted, {Counter(Message.objects.values_list('status', flat=True))} when they ended")
        assert judge.leaks == []
        eventually(lambda: now_due() or not Message.objects.exclude(status=Status.SENT).exists(), PATIENCE_SECONDS)
        assert not Recipient.objects.exclude(status=Status.SENT).exists()
    twice = sum(times - 1 for times in judge.arrived.values())
    printed(f"{len(accepted)} accepted, {sum(toggles.values())} times Active, {twice} arrived twice, {judge.leaks} leaked")
    assert judge.leaks == []
    assert accepted <= set(judge.arrived)
    assert min(toggles.values()) > 3
