"""An idle worker asks next to nothing, and hears of new mail at once all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from delivery.config import DeliveryConfig
from delivery.worker import Worker
from tests.support.outbox import send, statuses
from tests.support.portal import configure, eventually, manage
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@contextmanager
def sleepy_worker() -> Iterator[Worker]:
    """A worker that, once it is idle, looks again only when it is told to."""
    worker = Worker(config=DeliveryConfig(idle_seconds=600.0, awake_seconds=0.0))

    def run() -> None:
        try:
            worker.run()
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(60)
        assert not thread.is_alive()


def test_a_look_that_finds_nothing_is_one_statement(crm, qa, smtp_server):
    configure(qa, smtp_server)
    worker = Worker()
    worker._run_once()  # what it does every few seconds is done
    with CaptureQueriesContext(connection) as asked:
        worker._run_once()
    assert len(asked) == 1


@pytest.mark.requires_postgresql  # SQLite has no NOTIFY: the worker looks 20 times a second
def test_an_idle_worker_is_told_of_new_mail(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    with sleepy_worker() as worker:
        eventually(lambda: worker._listener.works)
        first = send(crm, qa)
        eventually(lambda: statuses(first) == {"customer@example.com": "sent"})
        assert manage("send_email", "crm", "qa", "--to", "a@example.com", "--subject", "of a process that ends").returncode == 0
        eventually(lambda: len(smtp_server.arrived) == 2)


@pytest.mark.requires_postgresql  # SQLite has no connections to cut
def test_a_worker_without_hints_polls_until_they_come_again(crm, qa, smtp_server, caplog):
    configure(qa, smtp_server, from_domains="*")
    with sleepy_worker() as worker:
        eventually(lambda: worker._listener.works)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        eventually(lambda: "hints_unavailable" in caplog.text)
        message = send(crm, qa)
        eventually(lambda: statuses(message) == {"customer@example.com": "sent"})
        eventually(lambda: worker._listener.works)
