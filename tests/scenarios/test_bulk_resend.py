"""A resend of many emails whose workers are killed in the middle: nothing is doubled or lost beyond the documented window."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from emaillog.bulk.service import Request, start
from emaillog.models import BulkAction
from outbox.bulk.checks import Act
from outbox.models import Message, Recipient, Source, Status
from outbox.submission import Envelope, submit_together
from outbox.values import Submission
from tests.support.portal import OPERATOR, ROOT, configure, environment, eventually, mail
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)
EMAILS = 400
CONNECTIONS, WINDOW = 4, 2


@pytest.fixture
def smtp_server():
    with SmtpServer(pipelining=True) as server:
        yield server


def kill_a_worker_after(emails: int, server: SmtpServer) -> None:
    arrived = len(server.arrived)
    worker = subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: len(server.arrived) >= arrived + emails or not BulkAction.objects.filter(state="running").exists())
    finally:
        worker.kill()
        worker.wait()


def test_workers_that_are_killed_resend_every_email_once(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", connections=CONNECTIONS)
    submissions = [
        Submission(
            crm, qa, Envelope("crm@acme.example", [f"c{number}@x.example"]), mail(subject=f"Invoice {number}"), Source.COMMAND
        )
        for number in range(EMAILS)
    ]
    originals = [accepted.pk for accepted in submit_together(submissions)]
    Recipient.objects.update(status=Status.FAILED, last_reply="550 5.1.1 no such user")
    Message.objects.update(status=Status.FAILED)
    action = start(Request(Act.RESEND, "stage=qa&status=failed"), OPERATOR)
    kills = 2
    for _ in range(kills):
        kill_a_worker_after(60, smtp_server)
    worker = subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: Message.objects.filter(resent_from__in=originals, status=Status.SENT).count() == EMAILS, seconds=120)
    finally:
        worker.terminate()
        worker.wait(30)
    action.refresh_from_db()
    assert (action.state, action.done, action.left_out) == ("finished", EMAILS, {})
    resent = Counter(Message.objects.exclude(resent_from=None).values_list("resent_from", flat=True))
    assert resent == dict.fromkeys(originals, 1)
    arrived = Counter(address for arrival in smtp_server.arrived for address in arrival.recipients)
    assert set(arrived) == {f"c{number}@x.example" for number in range(EMAILS)}
    assert sum(arrived.values()) - EMAILS <= kills * CONNECTIONS * WINDOW
