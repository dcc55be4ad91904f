"""What load balancers and monitoring are told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from common.database_trouble import WRITE_LOCK_HELD
from delivery.models import StageBackoff, Worker
from gateway.models import Gateway
from organization.models import App, Stage
from outbox import storage
from outbox.models import Source, Status
from outbox.submission import Envelope, submit
from portal import health, readiness
from portal.release import RELEASE
from portal.watch import Watch
from tests.support.portal import configure, mail


@pytest.fixture
def alive(db: None) -> None:
    Worker.objects.create(name="w1")
    Gateway.objects.create(name="g1")


@pytest.fixture
def probed(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """/readyz looks on a thread of its own, which leaves no connection behind."""
    monkeypatch.setattr("portal.watch.QUIET_SECONDS", 0.01)
    monkeypatch.setattr(health, "watch", Watch(readiness.check, readiness.database_away(readiness.HANGS)))
    return Client()


def test_healthz_names_the_release_and_asks_no_database(client: Client) -> None:
    answer = client.get("/healthz", headers={"host": "10.0.0.7"})
    assert (answer.status_code, answer.content) == (200, f"ok {RELEASE}\n".encode())


def test_the_members_menu_names_the_release(as_administrator: Client) -> None:
    assert f"ODC Email Portal {RELEASE}" in as_administrator.get("/").content.decode()


def test_with_a_gateway_and_a_worker_the_portal_is_ready(alive: None) -> None:
    result = readiness.check()
    assert (result.ready, result.causes, result.warnings) == (True, [], [])


@pytest.mark.django_db(transaction=True)  # a test's own transaction would hold SQLite's write lock
@pytest.mark.parametrize(("silent", "ready"), [(0, True), (7, True), (20, False)])
@pytest.mark.parametrize(("model", "words"), [(Worker, "No worker has reported"), (Gateway, "No gateway has reported")])
def test_one_that_has_not_reported_lately_is_missing(
    alive: None, model: type[Worker] | type[Gateway], words: str, silent: int, ready: bool
) -> None:
    model.objects.update(seen=timezone.now() - timedelta(seconds=silent))
    result = readiness.check()
    assert result.ready is ready
    assert result.facts["worker" if model is Worker else "gateway"] is ready
    assert ready or words in result.causes[0]


def test_it_tells_how_long_the_oldest_email_of_each_stage_waits(crm: App, qa: Stage, production: Stage, alive: None) -> None:
    for stage, seconds in ((qa, 90), (production, 30)):
        configure(stage)
        message = submit(crm, stage, Envelope("crm@acme.example", ["ana@example.com"]), mail(), via=Source.COMMAND)
        type(message).objects.filter(pk=message.pk).update(created=timezone.now() - timedelta(seconds=seconds))
    type(message).objects.filter(stage=production).update(status=Status.DEFERRED)
    facts = readiness.check().facts
    assert 90 <= facts["stages"]["qa"]["oldest_waiting_seconds"] < 300
    assert 30 <= facts["stages"]["production"]["oldest_waiting_seconds"] < 90
    assert facts["oldest_queued_seconds"] == facts["stages"]["qa"]["oldest_waiting_seconds"]


def test_paused_stages_and_held_mail_are_told_apart_and_are_no_reason_to_take_the_portal_away(
    crm: App, qa: Stage, production: Stage, alive: None
) -> None:
    submit(crm, qa, Envelope("", ["ana@example.com"]), mail(), via=Source.COMMAND)
    StageBackoff.objects.create(stage=production, failures=2, paused=True, code="authentication_refused")
    result = readiness.check()
    assert result.ready
    assert result.facts["stages"] == {
        "qa": {"oldest_waiting_seconds": 0, "trouble": "", "paused": False, "held": 1},
        "production": {"oldest_waiting_seconds": 0, "trouble": "authentication_refused", "paused": True, "held": 0},
    }


def test_storage_that_is_full_for_every_gateway_is_a_cause(alive: None) -> None:
    Gateway.objects.create(name="g2", accepting=False)
    assert readiness.check().ready
    Gateway.objects.update(accepting=False, warning="The gateway's certificate ends on 2026-12-01.")
    result = readiness.check()
    assert result.causes == ["The storage is full: nothing can be stored."]
    assert result.warnings == ["The gateway's certificate ends on 2026-12-01."]


@pytest.mark.requires_sqlite  # PostgreSQL has no such lock
@pytest.mark.django_db(transaction=True)
def test_a_process_that_keeps_sqlites_write_lock_is_named_once_others_cannot_report(alive: None) -> None:
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert readiness.check().ready
        holder.execute("UPDATE outbox_gateway SET seen = '2026-01-01'")
        holder.execute("COMMIT")
        assert readiness.check().causes == [readiness._NO_GATEWAY]
        holder.execute("BEGIN IMMEDIATE")
        assert readiness.check().causes == [WRITE_LOCK_HELD]
        holder.execute("ROLLBACK")


@pytest.mark.django_db(transaction=True)
def test_a_full_storage_is_noticed_and_so_is_that_it_has_room_again(crm: App, qa: Stage) -> None:
    """On SQLite a limit of pages stands for the full disk; on PostgreSQL a transaction that may only read."""

    def fill(full: bool) -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                if full:
                    cursor.execute("VACUUM")  # what earlier tests left free is room too
                (pages,) = cursor.execute("PRAGMA page_count").fetchone()
                cursor.execute(f"PRAGMA max_page_count = {pages if full else 1 << 30}")
            else:
                cursor.execute(f"SET default_transaction_read_only = {'on' if full else 'off'}")

    envelope, content = Envelope("", ["ana@example.com"]), mail(body="x" * 100_000)
    fill(True)
    try:
        with pytest.raises(OperationalError if connection.vendor == "sqlite" else Exception, match=r"full|read-only"):
            submit(crm, qa, envelope, content, via=Source.COMMAND)
        assert not storage.has_room()
    finally:
        fill(False)
    assert storage.has_room()
    submit(crm, qa, envelope, content, via=Source.COMMAND)
    assert storage.has_room()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("connection refused\nIs the server running?", "The database can't be reached: connection refused"),
        ("FATAL:  sorry, too many clients already", "The database has no connection left for the portal (max_connections)."),
    ],
)
def test_a_database_that_is_away_is_told_with_its_cause(db: None, error: str, cause: str) -> None:
    def down(*_: object) -> None:
        raise OperationalError(error)

    with connection.execute_wrapper(down):
        result = readiness.check()
    assert (result.causes, result.facts) == ([cause], {"database": False})


@pytest.mark.requires_postgresql  # SQLite has no such limit
@pytest.mark.django_db(transaction=True)
def test_a_server_without_a_connection_left_is_told_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    connection.close()
    try:
        with monkeypatch.context() as patch:
            patch.setitem(connection.settings_dict, "USER", "crowded")
            result = readiness.check()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP ROLE crowded")
    assert result.causes == ["The database has no connection left for the portal (max_connections)."]


def test_readyz_answers_with_503_and_the_causes_and_with_200(probed: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.watch.FRESH_SECONDS", 0.0)
    answer = probed.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert len(answer.json()["causes"]) == 2
    Worker.objects.create(name="w1")
    Gateway.objects.create(name="g1")
    answer = probed.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() | {"release": RELEASE, "ready": True, "causes": [], "database": True} == answer.json()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_monitoring_may_ask_with_head_and_nobody_posts(probed: Client, path: str) -> None:
    assert probed.head(path).status_code in (200, 503)
    assert probed.post(path).status_code == 405
