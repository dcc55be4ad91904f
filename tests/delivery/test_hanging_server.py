"""A server that hangs over one email, and one that puts everybody off: what it may hold up, and for how long."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone

from delivery.config import DeliveryConfig
from delivery.models import ConnectionSlot, StageBackoff
from outbox.models import Attempt, Message, Recipient, Status
from tests.support.outbox import deliver, deliver_beside, now_due, outcomes, send, statuses
from tests.support.portal import configure, eventually, mail
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

BASE = "/management/configure/emails/qa/"


SOON_SILENT = DeliveryConfig(silent_seconds=0.5)


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    with SmtpServer(pipelining=True) as server:
        yield server


@contextmanager
def a_worker() -> Iterator[threading.Thread]:
    worker = threading.Thread(target=deliver_beside, args=(SOON_SILENT,))
    worker.start()
    try:
        yield worker
    finally:
        worker.join(60)


def hang_over(server: SmtpServer, subject: str) -> tuple[threading.Event, threading.Event]:
    """The server doesn't answer the content of this email. Two events: it has come; it may be answered."""
    come, answer = threading.Event(), threading.Event()

    def data(arrived) -> None:
        if arrived.mail["Subject"] == subject:
            come.set()
            answer.wait(60)

    server.data = data
    return come, answer


@pytest.mark.parametrize("pipelining", [True, False])
def test_an_email_over_which_the_server_hangs_holds_up_no_other(crm, qa, configured, smtp_server, as_viewer, caplog, pipelining):
    smtp_server.pipelining = pipelining
    hanging, answer = hang_over(smtp_server, "poison")
    poison = send(crm, qa, content=mail(subject="poison"))
    beside = [send(crm, qa, content=mail(subject=f"beside {number}")) for number in range(2)]
    with a_worker():
        try:
            assert hanging.wait(60)
            later = [send(crm, qa, content=mail(subject=f"later {number}")) for number in range(5)]
            eventually(lambda: Message.objects.filter(status=Status.SENT).count() == 7)
            assert [arrival.mail["Subject"] for arrival in smtp_server.arrived].count("poison") == 0
            shown = " ".join(unescape(re.sub("<[^>]*>", "", as_viewer.get(BASE).content.decode())).split())
            assert f"The SMTP server of QA doesn't answer about email #{poison.pk}." in shown
            assert "server_hangs" in caplog.text
        finally:
            answer.set()
    assert outcomes(poison) == [("customer@example.com", "sent")]
    assert {outcome for message in (*beside, *later) for outcome in outcomes(message)} == {("customer@example.com", "sent")}
    assert len(smtp_server.arrived) == 8
    assert not ConnectionSlot.objects.exists()
    assert "doesn't answer about" not in unescape(as_viewer.get(BASE).content.decode())


def test_with_one_connection_everything_waits_and_nothing_goes_twice(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", connections=1)
    hanging, answer = hang_over(smtp_server, "poison")
    for subject in ("poison", "beside", "behind"):
        send(crm, qa, content=mail(subject=subject))
    with a_worker():
        try:
            assert hanging.wait(60)
            eventually(lambda: ConnectionSlot.objects.exclude(silent_since=None).exists())
            assert smtp_server.connections == 1
        finally:
            answer.set()
    assert [arrival.mail["Subject"] for arrival in smtp_server.arrived] == ["poison", "beside", "behind"]
    assert smtp_server.connections == 1


def test_a_server_that_hangs_over_every_email_gets_no_more_connections_than_the_stage_allows(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", connections=2)
    answer = threading.Event()
    smtp_server.data = lambda _: answer.wait(60) and None
    messages = [send(crm, qa) for _ in range(6)]
    with a_worker():
        try:
            eventually(lambda: ConnectionSlot.objects.exclude(silent_since=None).count() == 2)
            eventually(lambda: Message.objects.filter(status=Status.QUEUED).count() == 4)
            assert smtp_server.connections == 2
        finally:
            answer.set()
    assert {status for message in messages for status in statuses(message).values()} == {"sent"}
    assert len(smtp_server.arrived) == 6


# A server that puts everybody off


@pytest.mark.parametrize(
    ("where", "reply"),
    [
        ("data", "451 4.3.0 temporary failure"),
        ("rcpt", "450 4.3.2 not now"),
        ("data", "421 shutting down"),
    ],
)
def test_a_server_that_puts_off_everybody_is_tried_again_within_a_minute_however_long_that_lasts(
    crm, qa, configured, smtp_server, where, reply
):
    setattr(smtp_server, where, lambda _: reply)
    messages = [send(crm, qa) for _ in range(4)]
    for _ in range(3):  # the first minute: as for any email
        deliver()
        StageBackoff.objects.update(deferring_since=timezone.now() - timedelta(minutes=1), retry_at=None)
        Recipient.objects.update(due=timezone.now())
        Message.objects.update(due=timezone.now())
    tries = set(Recipient.objects.values_list("tries", flat=True))
    for failures in range(2, 5):
        now_due()
        deliver()
        queue = StageBackoff.objects.get(stage=qa)
        assert (queue.code, queue.paused, queue.failures >= failures) == ("puts_everybody_off", False, True)
        assert queue.retry_at <= timezone.now() + timedelta(minutes=1)
    assert set(Recipient.objects.values_list("tries", flat=True)) == tries  # it counts on no email
    Message.objects.filter(pk=messages[0].pk).update(status=Status.DEFERRED, due=timezone.now() + timedelta(hours=1))
    Recipient.objects.filter(message=messages[0]).update(status=Status.DEFERRED, due=timezone.now() + timedelta(hours=1))
    setattr(smtp_server, where, lambda _: None)
    StageBackoff.objects.update(retry_at=timezone.now())
    deliver()  # nothing else was made due: what was put off before goes with the others
    deliver()
    assert {status for message in messages for status in statuses(message).values()} == {"sent"}
    assert not StageBackoff.objects.exclude(failures=0, deferrals=0, deferring_since=None).exists()


def test_what_is_put_off_for_the_recipients_sake_is_no_trouble_of_the_server(crm, qa, configured, smtp_server):
    smtp_server.rcpt = lambda _: "450 4.2.1 mailbox busy"
    for _ in range(3):
        send(crm, qa)
        deliver()
    assert not StageBackoff.objects.exclude(failures=0, deferring_since=None).exists()
    assert Attempt.objects.count() == 3
