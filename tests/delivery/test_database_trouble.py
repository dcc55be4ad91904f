"""A database that can't be used, or that another process keeps locked: who goes on, and what the log says."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import DataError, InternalError, OperationalError, ProgrammingError, connection, transaction
from django.db.backends.signals import connection_created
from django.utils import timezone

import delivery.backoff
from common import process, sql
from common.database_trouble import WRITE_LOCK_HELD, write_lock_is_held
from delivery.models import StageQueue
from delivery.worker import Worker
from outbox.models import Message, Recipient, Status
from tests.support.outbox import deliver, leases_run_out, now_due, outcomes, send
from tests.support.portal import ROOMS, ROOT, configure, environment, eventually
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


@pytest.mark.parametrize("per_minute", [0, 6000])
def test_what_a_stopped_worker_has_locked_is_passed_over(crm, qa, production, smtp_server, per_minute):
    if connection.vendor != "postgresql":
        return  # SQLite locks the whole file: see below
    configure(qa, smtp_server, from_domains="*", mails_per_minute=per_minute)
    configure(production, smtp_server, from_domains="*")
    for number in range(3):
        send(crm, qa, f"locked{number}@example.com")
    with worker() as stopped:
        # The worker waits for an answer inside its transaction, with the emails' rows locked. A write would not do: its commit
        # follows in the same flight.
        with transaction.atomic():
            sql.run(f"LOCK TABLE {Recipient._meta.db_table} IN ACCESS EXCLUSIVE MODE")
            eventually(waits_for_a_lock)
            stopped.send_signal(signal.SIGSTOP)
        for number in range(5):
            send(crm, qa, f"beside{number}@example.com")
            send(crm, production, f"elsewhere{number}@example.com")
        elsewhere = {f"elsewhere{number}@example.com" for number in range(5)}
        beside = {f"beside{number}@example.com" for number in range(5)}
        with worker():
            eventually(lambda: smtp_server.recipients >= elsewhere | beside, seconds=20)
        assert not {one for one in smtp_server.recipients if one.startswith("locked")}
    leases_run_out()
    now_due()
    deliver()
    assert len(smtp_server.recipients) == 13
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}


def test_the_database_server_is_told_to_notice_a_worker_that_is_lost(settings):
    if connection.vendor != "postgresql":
        return
    assert connection.settings_dict["OPTIONS"]["tcp_user_timeout"] == 30_000
    asked: dict[str, str] = {}

    def ask() -> None:
        with closing(connection), connection.cursor() as cursor:
            cursor.execute("SELECT name, setting FROM pg_settings WHERE name LIKE '%idle_in_transaction%' OR name LIKE 'tcp_%'")
            asked.update(cursor.fetchall())

    process.leave_no_lock_behind()
    try:
        asking = threading.Thread(target=ask)
        asking.start()
        asking.join()
    finally:
        connection_created.disconnect(process._let_the_server_notice)
    assert asked["idle_in_transaction_session_timeout"] == "60000"  # those of TCP are 0 over a Unix socket


def test_a_process_that_holds_sqlites_lock_is_told_of(crm, qa, smtp_server, tmp_path):
    if connection.vendor != "sqlite":
        assert not write_lock_is_held()
        return
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


@pytest.mark.turns_fail
@pytest.mark.parametrize("error", [OperationalError, ProgrammingError, DataError, InternalError])
def test_an_error_of_the_database_in_a_session_is_one_log_line(crm, qa, closed_port, monkeypatch, caplog, error):
    def fail(*_: object) -> None:
        raise error("column doesn't exist\nLINE 1: SELECT …\n        ^")

    configure(qa, port=closed_port)
    send(crm, qa)
    monkeypatch.setattr(delivery.backoff, "note_trouble", fail)
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


# Times


def test_trouble_is_over_with_the_first_email_after_the_pause_whatever_the_fraction_of_a_second(crm, qa, configured, smtp_server):
    """SQLite compares times as text, so that those with and without a fraction don't agree."""
    for _ in range(5):
        message = send(crm, qa)
        StageQueue.objects.update_or_create(
            stage=qa, defaults={"failures": 3, "retry_at": timezone.now(), "since": timezone.now() - timedelta(hours=1)}
        )
        deliver()
        assert outcomes(message) == [("customer@example.com", "sent")]
        assert not StageQueue.objects.filter(failures__gt=0).exists()


def test_every_time_in_a_statement_comes_from_one_function():
    """`now_in_sql()`: another clock, or the same in another form, compares wrongly with what is stored."""
    others = re.compile(
        r"CURRENT_(TIMESTAMP|TIME|DATE)\b|\b(datetime|date|julianday|unixepoch)\('now'|\bnow\(\)|clock_timestamp\(|"
        r"localtimestamp|transaction_timestamp\(|strftime\('|statement_timestamp\(",
        re.IGNORECASE,
    )
    rooms = [path for room in ROOMS for path in Path(ROOT, room).rglob("*.py")]
    found = {
        (path.name, match.group())
        for path in rooms
        if "migrations" not in path.parts and path.name != "clock.py"
        for match in others.finditer(re.sub(r"\b(timezone|datetime|database_)\.?now\(\)|\bNow\(\)", "", path.read_text()))
    }
    assert found == set()
