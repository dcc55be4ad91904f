"""A database that can't be used, or that another process keeps locked: who goes on, and what the log says."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from django.db import DataError, InternalError, OperationalError, ProgrammingError, connection, transaction

import delivery.backoff
from common.database_trouble import WRITE_LOCK_HELD, write_lock_is_held
from delivery.worker import Worker
from organization.models import Stage
from outbox.models import Message, Recipient, Status
from tests.support.outbox import deliver, leases_run_out, now_due, send
from tests.support.portal import ROOT, configure, environment, eventually
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    with SmtpServer(pipelining=True) as server:
        yield server


@contextmanager
def worker(**options) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=ROOT, env=environment(), **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchall())


def are_locked(messages: list[Message]) -> bool:
    """Whether transactions that still run have the rows of all of them locked.

    It reads who locked a row last. To lock a row in order to see whether it is free would hide it from the worker, which then
    claims the other ones only.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {Message._meta.db_table} m JOIN pg_locks l"
            " ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = m.xmax WHERE m.id = ANY(%s)",
            [[message.pk for message in messages]],
        )
        return cursor.fetchone()[0] == len(messages)


@pytest.mark.requires_postgresql  # SQLite locks the whole file
@pytest.mark.parametrize("per_minute", [0, 6000])
def test_what_a_stopped_worker_has_locked_is_passed_over(crm, qa, production, smtp_server, per_minute):
    configure(qa, smtp_server, from_domains="*", mails_per_minute=per_minute)
    configure(production, smtp_server, from_domains="*")
    locked = [send(crm, qa, f"locked{number}@example.com") for number in range(3)]
    with ExitStack() as running:
        # The worker waits for an answer inside its transaction, with the emails' rows locked. A write would not do: its commit
        # follows in the same flight.
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"LOCK TABLE {Recipient._meta.db_table} IN ACCESS EXCLUSIVE MODE")
            stopped = running.enter_context(worker())
            eventually(lambda: are_locked(locked) and waits_for_a_lock())
            stopped.send_signal(signal.SIGSTOP)
        for number in range(5):
            send(crm, qa, f"beside{number}@example.com")
            send(crm, production, f"elsewhere{number}@example.com")
        elsewhere = {f"elsewhere{number}@example.com" for number in range(5)}
        beside = {f"beside{number}@example.com" for number in range(5)}
        with worker():
            eventually(lambda: smtp_server.recipients >= elsewhere | beside, seconds=20)
        assert not {recipient for recipient in smtp_server.recipients if recipient.startswith("locked")}
    leases_run_out()
    now_due()
    deliver()
    assert len(smtp_server.recipients) == 13
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}


@pytest.mark.requires_postgresql
def test_postgresql_has_no_write_lock_that_a_process_could_keep(qa):
    with transaction.atomic():
        assert list(Stage.objects.select_for_update()) == [qa]
        assert not write_lock_is_held()


@pytest.mark.requires_sqlite
def test_a_process_that_holds_sqlites_lock_is_told_of(crm, qa, smtp_server, tmp_path):
    configure(qa, smtp_server, from_domains="*")
    assert not write_lock_is_held()
    output = tmp_path / "log"
    with output.open("wb") as log, worker(stderr=log):
        eventually(lambda: Worker_has_reported())
        with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            assert write_lock_is_held()
            eventually(lambda: WRITE_LOCK_HELD in output.read_text())
            holder.execute("ROLLBACK")
        send(crm, qa)
        eventually(lambda: smtp_server.arrived)
    assert not write_lock_is_held()


def Worker_has_reported() -> bool:
    from delivery.models import Worker as Reported

    return Reported.objects.exists()


@pytest.mark.batches_fail
@pytest.mark.parametrize("error", [OperationalError, ProgrammingError, DataError, InternalError])
def test_an_error_of_the_database_in_a_session_is_one_log_line(crm, qa, closed_port, monkeypatch, caplog, error):
    def fail(*_: object) -> None:
        raise error("column doesn't exist\nLINE 1: SELECT …\n        ^")

    configure(qa, port=closed_port)
    send(crm, qa)
    monkeypatch.setattr(delivery.backoff, "record_failure", fail)
    Worker().drain(seconds=0.5)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert lines
    for line in lines:
        assert "session_failed" in line
        assert f"{error.__name__}: column doesn't exist LINE 1: SELECT … ^" in line
        assert "Traceback" not in line


def test_a_process_that_goes_on_keeps_no_statements_with_debug(crm, qa, smtp_server):
    """`make demo` runs with DEBUG."""
    configure(qa, smtp_server, from_domains="*")
    send(crm, qa)
    script = (
        "import django; django.setup()\n"
        "from django.conf import settings; from django.core.management import call_command; from django.db import connection\n"
        "call_command('deliver', '--once')\n"
        "print(settings.DEBUG, len(connection.queries_log))"
    )
    env = {**environment(), "DJANGO_SETTINGS_MODULE": "portal.settings"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]
    assert len(smtp_server.arrived) == 1
