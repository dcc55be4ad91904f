"""Two people save a stage's settings at once: the stored password never goes to a server that it wasn't entered for.

The second save comes at every moment in which the first can still be overtaken: before each statement that the first sends
to the database, until the first holds the lock of its write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection

from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.models import Member, Stage
from tests.support.emailconfig import CANARY, VALUES, edit_url
from tests.support.portal import OPERATOR, configure, eventually, signed_in
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

BASIC = {"server": "127.0.0.1", "security": "none", "authentication": "basic", "username": "portal"}
_LOCKING = ("BEGIN", "FOR NO KEY UPDATE")
OTHERS = "the-other-persons-password"


class SecondSave:
    """A save by another person, on a connection of its own, before the `position`-th statement about the settings.

    Statements count until the first save holds its lock: no other save can come in between from there on.
    """

    def __init__(self, save: Callable[[], Any], position: int) -> None:
        self._save, self._position = save, position
        self._statements, self._rows_locked, self.happened = 0, False, False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self._is_locked() and any(part in sql for part in ("emailconfig_smtpsettings", *_LOCKING)):
            self._statements += 1
            if self._statements == self._position:
                self._in_another_thread()
        self._rows_locked |= "FOR NO KEY UPDATE" in sql
        return execute(sql, params, many, context)

    def _is_locked(self) -> bool:
        """SQLite locks the database with the transaction's BEGIN, PostgreSQL a row when it is told to."""
        return self._rows_locked or (connection.vendor == "sqlite" and connection.in_atomic_block)

    def _in_another_thread(self) -> None:
        def run() -> None:
            try:
                self._save()
                self.happened = True
            finally:
                connection.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(60)
        assert self.happened


# Each prepares a save, or a test, of a form that changes the port, holds no password and claims a version; and returns it.
# (The command claims the version that it reads.)
Prepare = Callable[[Member, Stage, dict[str, Any]], Callable[[], Any]]


def by_browser(member: Member, stage: Stage, values: dict[str, Any]) -> Callable[[], Any]:
    client = signed_in(member)
    return lambda: client.post(edit_url(stage), values)


def by_admin(member: Member, stage: Stage, values: dict[str, Any]) -> Callable[[], Any]:
    url = f"/admin/emailconfig/smtpsettings/{SmtpSettings.objects.get(stage=stage).pk}/change/"
    client = signed_in(member)
    return lambda: client.post(url, values)


def by_command(member: Member, stage: Stage, values: dict[str, Any]) -> Callable[[], Any]:
    options = {name: values[name] for name in ("port", "sender_address", *BASIC)}

    def save() -> None:
        with suppress(CommandError):
            call_command("set_smtp", stage.key, **options)

    return save


def by_service(member: Member, stage: Stage, values: dict[str, Any]) -> Callable[[], Any]:
    def save() -> None:
        settings = settings_of(stage)
        assert settings is not None
        for name in ("port", "version", *BASIC):
            setattr(settings, name, values[name])
        with suppress(ValidationError):
            save_smtp_settings(settings, OPERATOR)

    return save


def by_test_connection(member: Member, stage: Stage, values: dict[str, Any]) -> Callable[[], Any]:
    client = signed_in(member)

    def test() -> None:
        client.post(f"/management/configure/emails/{stage.key}/test/", values)
        eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "doctor"])

    return test


@pytest.mark.parametrize("claimed", [1, 2])
@pytest.mark.parametrize("prepare", [by_browser, by_admin, by_command, by_service, by_test_connection])
def test_a_stored_password_never_goes_elsewhere_whenever_another_save_comes(
    qa: Stage, administrator: Member, smtp_server: SmtpServer, prepare: Prepare, claimed: int
) -> None:
    smtp_server.users = {"portal": OTHERS}
    moments = 0
    for position in count(1):
        SmtpSettings.objects.all().delete()
        configure(qa, **BASIC, port=2525, new_secret=CANARY)
        form = {**VALUES, **BASIC, "port": str(smtp_server.port), "version": claimed}
        first = prepare(administrator, qa, form)
        second = SecondSave(lambda: configure(qa, smtp_server, **BASIC, new_secret=OTHERS), position)
        with connection.execute_wrapper(second):
            first()
        stored = SmtpSettings.objects.get()
        pair = (stored.port, stored.secret.reveal())
        assert pair == ((smtp_server.port, OTHERS) if second.happened else (2525, CANARY)), f"before statement {position}"
        assert ("portal", CANARY) not in smtp_server.logins, f"before statement {position}"
        if not second.happened:
            break
        moments += 1
    # SQLite's admin holds its lock from the beginning on.
    assert moments >= (1 if prepare is by_admin and connection.vendor == "sqlite" else 2)
