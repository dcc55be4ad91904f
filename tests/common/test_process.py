"""How long processes that answer people and apps wait for PostgreSQL. (What a frozen server does: test_hanging_database.)"""

from __future__ import annotations

import psycopg
import pytest
from django.db import OperationalError, close_old_connections, connection

from common import sql
from common.process import _limit_waits
from tests.support.portal import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _a_connection_of_its_own(transactional_db):
    yield
    connection.close()


def test_a_statement_that_takes_too_long_ends_and_the_connection_can_be_used_on(settings):
    settings.DATABASE_STATEMENT_TIMEOUT = 1
    connection.ensure_connection()
    _limit_waits(connection)
    if connection.vendor != "postgresql":
        return  # SQLite is in the same process; how long it waits for a lock is in the settings
    with pytest.raises(OperationalError, match="statement timeout"):
        sql.fetch(sql.query(str, "SELECT pg_sleep(60)"))
    assert sql.fetch(sql.query(str, "SELECT current_setting('statement_timeout')")) == ["1s"]
    assert sql.fetch(sql.query(str, "SELECT current_setting('idle_session_timeout')")) == ["1min"]


def test_a_connection_that_the_server_ended_while_it_was_idle_is_replaced_without_a_word():
    if connection.vendor != "postgresql":
        return  # its connections are files
    with connection.cursor() as cursor:
        cursor.execute("SET idle_session_timeout = '1ms'")
    pid = connection.connection.info.backend_pid
    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as other:
        eventually(lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchall())
    close_old_connections()  # as at the beginning of each request, and before the gateway asks
    assert sql.fetch(sql.query(int, "SELECT 1")) == [1]
