"""A disk that is full, and a database that is away: one clear line, and nothing half-saved."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test import Client
from pytest_django import Settings

from common.sql import AWAY, NO_SPACE, DatabaseTrouble, database_trouble
from organization.models import App, AuditEvent, Member, Stage
from testlists.services import test_list_of as list_of
from tests.support.portal import ROOT, environment, signed_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def full_disk(crm: App) -> Iterator[None]:
    """Nothing can be added to the audit trail any more, which every save writes to."""
    connection.close()
    with _full_sqlite() if connection.vendor == "sqlite" else _full_postgresql():
        yield


@contextmanager
def _full_sqlite() -> Iterator[None]:
    """The file may have no more pages than it has, and those are filled."""
    with connection.cursor() as cursor:
        (pages,) = cursor.execute("PRAGMA page_count").fetchone()
        (unused,) = cursor.execute("PRAGMA freelist_count").fetchone()
    options = connection.settings_dict["OPTIONS"]
    before = options["init_command"]
    options["init_command"] = f"{before}; PRAGMA max_page_count = {pages}"
    connection.close()
    try:
        _fill(unused)
        yield
    finally:
        options["init_command"] = before
        connection.close()


def _fill(unused: int) -> None:
    """Take the free pages, then what is left on the last page of the audit trail."""
    sizes = [4096] * unused + [400] * 30
    for number, size in enumerate(sizes):
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO organization_auditevent (at, actor_name, operation, entity, entity_id, entity_name, status,"
                    " before, after, request_id) VALUES ('2026-01-01', '', 'Fill', '', '', '', 'succeeded', '{}', %s, '')",
                    [f'"{"x" * size}"'],
                )
        except DatabaseError:
            if number >= unused:
                return


@contextmanager
def _full_postgresql() -> Iterator[None]:
    """The audit trail's file is on a device that is always full."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE organization_auditevent CASCADE")
        cursor.execute("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('organization_auditevent')")
        ((path,),) = cursor.fetchall()
        cursor.execute("CHECKPOINT")
    connection.close()
    file, aside = Path(path), Path(f"{path}.aside")
    file.rename(aside)
    file.symlink_to("/dev/full")
    connection.close()
    try:
        yield
    finally:
        connection.close()
        file.unlink()
        aside.rename(file)


def no_errors_raised(member: Member) -> Client:
    client = signed_in(member)
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("debug", [True, False])
def test_a_full_disk_is_said_on_a_page_and_nothing_is_half_saved(
    administrator: Member, crm: App, full_disk: None, settings: Settings, debug: bool
) -> None:
    settings.DEBUG = debug
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    client = no_errors_raised(administrator)
    events = AuditEvent.objects.count()
    form = {"name": "Changed", "colour": "blue", "version": "1", "description": "x" * 200}
    answer = client.post("/apps/crm/edit/", form)
    assert answer.status_code == 507
    assert "There is no space left" in answer.content.decode()
    assert "default-src" in answer["Content-Security-Policy"]
    crm.refresh_from_db()
    assert (crm.name, crm.version) == ("Customer Relations", 1)
    assert AuditEvent.objects.count() == events
    assert client.get("/apps/").status_code == 200


@contextmanager
def command_without_space() -> Iterator[dict[str, Any]]:
    """How a command is run that can write no more than a few pages: on SQLite under a quota, on PostgreSQL a full disk."""
    connection.close()
    if connection.vendor == "sqlite":
        few_bytes = 40 * 1024  # SQLite's index of its log alone takes 32 KiB
        yield {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (few_bytes, few_bytes))}
        return
    with _full_postgresql():
        yield {}


def test_a_full_disk_is_said_in_one_line_of_a_command_and_nothing_is_half_saved(crm: App, qa: Stage) -> None:
    people = [f"--add={'x' * 50}{number}@{'y' * 60}.{'z' * 60}.example.com" for number in range(100)]
    command = [sys.executable, "manage.py", "test_list", "crm", "qa", "--activate", *people]
    with command_without_space() as limits:
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, **limits)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: The database has no space left"), done.stderr
    assert done.stderr.count("\n") == 1
    test_list = list_of(crm, qa)
    assert (test_list.active, test_list.people()) == (False, [])
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (sqlite3.SQLITE_FULL, NO_SPACE),
        (sqlite3.SQLITE_IOERR_WRITE, NO_SPACE),  # what a quota says
        (sqlite3.SQLITE_IOERR_SHMSIZE, NO_SPACE),  # what a full disk says to a process that opens the file
        (sqlite3.SQLITE_READONLY_DBMOVED, NO_SPACE),
        (sqlite3.SQLITE_BUSY, AWAY),
        (sqlite3.SQLITE_CANTOPEN, AWAY),
        (sqlite3.SQLITE_IOERR_READ, AWAY),
        (sqlite3.SQLITE_ERROR, None),  # a fault of our own, such as a table that doesn't exist
        (sqlite3.SQLITE_CONSTRAINT, None),
    ],
)
def test_sqlites_words_for_it_are_understood(code: int, trouble: DatabaseTrouble | None) -> None:
    cause = sqlite3.OperationalError("disk I/O error")
    cause.sqlite_errorcode = code
    error = OperationalError("disk I/O error")
    error.__cause__ = cause
    assert database_trouble(error) == trouble


@pytest.mark.parametrize("debug", [True, False])
def test_a_database_that_is_away_is_said_on_a_page(
    administrator: Member, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, debug: bool
) -> None:
    settings.DEBUG = debug
    client = no_errors_raised(administrator)
    nowhere = str(tmp_path / "gone" / "database")
    with monkeypatch.context() as away:
        if connection.vendor == "sqlite":
            away.setitem(connection.settings_dict, "NAME", nowhere)
        else:
            away.setitem(connection.settings_dict["OPTIONS"], "host", nowhere)
        connection.close()
        for path in ("/apps/", "/monitor/email-log/qa/export/", "/admin/"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "The database can&#x27;t be reached" in answer.content.decode().replace("'", "&#x27;")
            assert answer["Retry-After"] == "30"
        assert Client().get("/healthz").status_code == 200
    connection.close()
    assert client.get("/apps/").status_code == 200
