"""How long processes that answer people and apps wait for PostgreSQL.

What a frozen server does: test_hanging_database.
"""

from __future__ import annotations

import threading
from contextlib import closing

import psycopg
import pytest
from django.db import OperationalError, close_old_connections, connection
from django.db.backends.signals import connection_created

from common import process, sql
from common.process import _limit_waits
from tests.support.portal import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _a_connection_of_its_own(transactional_db):
    yield
    connection.close()


@pytest.mark.requires_postgresql  # SQLite is in the same process; how long it waits for a lock is in the settings
def test_a_statement_that_takes_too_long_ends_and_the_connection_can_be_used_on(settings):
    settings.DATABASE_STATEMENT_TIMEOUT = 1
    connection.ensure_connection()
    _limit_waits(connection)
    with pytest.raises(OperationalError, match="statement timeout"):
        sql.fetch(sql.query(str, "SELECT pg_sleep(60)"))
    assert sql.fetch(sql.query(str, "SELECT current_setting('statement_timeout')")) == ["1s"]
    assert sql.fetch(sql.query(str, "SELECT current_setting('idle_session_timeout')")) == ["1min"]


@pytest.mark.requires_postgresql
@pytest.mark.parametrize("prepare", [process._forbid_scans, process._limit_waits])
def test_no_statement_is_compiled(prepare):
    """PostgreSQL 15 compiled those of a worker each time, and a worker sent 20 emails a second."""
    sql.run(sql.statement("SET jit = on"))
    prepare(connection)
    assert sql.fetch(sql.query(str, "SELECT current_setting('jit')")) == ["off"]


@pytest.mark.requires_postgresql  # SQLite's connections are files
def test_a_connection_that_the_server_ended_while_it_was_idle_is_replaced_without_a_word():
    with connection.cursor() as cursor:
        cursor.execute("SET idle_session_timeout = '1ms'")
    pid = connection.connection.info.backend_pid
    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as other:
        eventually(lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchall())
    close_old_connections()  # as at the beginning of each request, and before the gateway asks
    assert sql.fetch(sql.query(int, "SELECT 1")) == [1]


@pytest.mark.requires_postgresql
def test_the_database_server_is_told_to_notice_a_worker_that_is_lost(settings):
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
