from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from organization.models import App, Stage
from outbox.models import Door, Worker
from outbox.submission import Envelope, submit
from tests.conftest import configure, mail


def test_healthz_answers_anybody_without_asking_the_database(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_without_a_worker_the_portal_is_not_ready(client: Client, db: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"database": True, "worker": False, "oldest_queued_seconds": 0}


@pytest.mark.parametrize(("silent", "ready"), [(timedelta(), True), (timedelta(seconds=7), True), (timedelta(seconds=20), False)])
def test_with_a_worker_that_reported_lately_it_is(client: Client, db: None, silent: timedelta, ready: bool) -> None:
    Worker.objects.create(name="w1", seen=timezone.now() - silent)
    answer = client.get("/readyz")
    assert (answer.status_code == 200) is ready
    assert answer.json()["worker"] is ready


def test_it_tells_how_long_the_oldest_mail_waits(client: Client, crm: App, qa: Stage) -> None:
    configure(qa)
    message = submit(crm, qa, Envelope("crm@acme.example", ["ana@example.com"]), mail(), via=Door.COMMAND)
    type(message).objects.update(created=timezone.now() - timedelta(seconds=90))
    assert 90 <= client.get("/readyz").json()["oldest_queued_seconds"] < 300


def test_without_a_database_it_says_so(client: Client, db: None) -> None:
    def down(*_: object) -> None:
        raise OperationalError("the database is gone")

    with connection.execute_wrapper(down):
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"database": False})


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_monitoring_may_ask_with_head_and_nobody_posts(client: Client, db: None, path: str) -> None:
    assert client.head(path).status_code in (200, 503)
    assert client.post(path).status_code == 405
