"""No password comes back out: the canary is looked for wherever a secret could show."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.core.signals import got_request_exception
from django.db import connection
from django.test import Client
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from common.encryption import EncryptedValue, decrypt, encrypt
from common.exceptions import UndecryptableSecret
from emailconfig.connection import ConnectionFailure, connect
from emailconfig.models import SmtpSettings
from emailconfig.signals import smtp_settings_saved
from organization.models import AuditEvent, Member, Stage
from tests.support.emailconfig import CANARY, ENTRY_POINTS, WITH_PASSWORD, EntryPoint, edit_url, version_of
from tests.support.portal import configure
from tests.support.smtp_server import SmtpServer


def test_the_secret_that_the_tests_look_for_is_stored(configured: SmtpSettings) -> None:
    assert configured.secret.reveal() == CANARY  # what the tests below look for is really there


@pytest.mark.parametrize("path", ["", "qa/", "qa/edit/"])
def test_no_page_shows_a_password(as_administrator: Client, configured: SmtpSettings, path: str) -> None:
    page = as_administrator.get(f"/management/configure/emails/{path}").content.decode()
    assert "smtp.example.com" in page
    assert CANARY not in page
    assert configured.secret.stored not in page


def test_no_admin_page_shows_a_password(as_administrator: Client, as_viewer: Client, configured: SmtpSettings) -> None:
    Member.objects.update(is_staff=True)
    base = "/admin/emailconfig/smtpsettings/"
    for client in (as_administrator, as_viewer):
        for path in (base, f"{base}{configured.pk}/change/", f"{base}{configured.pk}/history/"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert CANARY not in answer.content.decode()
            assert configured.secret.stored not in answer.content.decode()


@pytest.mark.parametrize("entry_point", ["browser", "admin"])
def test_a_password_that_was_typed_is_not_shown_again_when_something_else_was_wrong(
    as_administrator: Client, qa: Stage, entry_point: str
) -> None:
    url = edit_url(qa) if entry_point == "browser" else "/admin/emailconfig/smtpsettings/add/"
    page = as_administrator.post(url, {**WITH_PASSWORD, "stage": qa.pk, "version": 0, "port": "25"}).content.decode()
    assert "smtp.example.com" in page  # what else was typed is
    assert CANARY not in page


def test_saving_tells_nobody_the_password(
    entry_point: EntryPoint, qa: Stage, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert entry_point(qa, **WITH_PASSWORD) == ""
    assert entry_point(qa, **{**WITH_PASSWORD, "port": "25"}) != ""
    out, err = capfd.readouterr()
    assert CANARY not in caplog.text + out + err


def test_the_database_holds_no_password_in_clear(entry_point: EntryPoint, qa: Stage) -> None:
    assert entry_point(qa, **WITH_PASSWORD) == ""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            assert CANARY not in str(cursor.fetchall()), table


@pytest.mark.requires_sqlite  # the test above reads PostgreSQL's tables
@pytest.mark.django_db(transaction=True)
def test_the_bytes_on_disk_hold_no_password_in_clear(qa: Stage) -> None:
    assert ENTRY_POINTS["browser"](qa, **{**WITH_PASSWORD, "username": "canary-user"}) == ""
    file = Path(connection.settings_dict["NAME"])
    # By another process: closing the file here would drop the locks that SQLite holds on it in this one.
    files = [str(part) for part in file.parent.glob(f"{file.name}*")]
    stored = subprocess.run(["/bin/cat", *files], capture_output=True, check=True).stdout
    assert b"canary-user" in stored
    assert CANARY.encode() not in stored


def test_show_smtp_shows_dots(configured: SmtpSettings) -> None:
    for options in ([], ["--json"]):
        out = StringIO()
        call_command("show_smtp", "qa", *options, stdout=out)
        assert "smtp.example.com" in out.getvalue()
        assert "••••••••" in out.getvalue()
        assert CANARY not in out.getvalue()
        assert configured.secret.stored not in out.getvalue()


def test_the_audit_trail_masks_the_password(configured: SmtpSettings) -> None:
    event = AuditEvent.objects.get(entity="SMTP settings")
    assert event.after["secret"] == "••••••••"
    assert CANARY not in str(AuditEvent.objects.values_list())
    assert configured.secret.stored not in str(AuditEvent.objects.values_list())


def test_a_secret_that_is_printed_shows_dots() -> None:
    secret = EncryptedValue.of(CANARY)
    for shown in (str(secret), repr(secret), f"{secret}", repr([secret]), str({"password": secret})):
        assert "••••••••" in shown
        assert CANARY not in shown
        assert secret.stored not in shown
    assert str(EncryptedValue()) == ""


@pytest.mark.parametrize("entry_point", ["browser", "admin"])
@pytest.mark.parametrize("cause", ["a receiver fails", "the encryption key is broken"])
def test_the_report_of_a_failed_save_holds_no_password(
    as_administrator: Client, qa: Stage, settings: Settings, entry_point: str, cause: str
) -> None:
    reports: list[str] = []

    def report(request: Any, **_: object) -> None:
        reporter = ExceptionReporter(request, *sys.exc_info())
        reports.extend([reporter.get_traceback_html(), reporter.get_traceback_text()])

    def fail(**_: object) -> None:
        raise RuntimeError("the listener failed")

    as_administrator.raise_request_exception = False
    got_request_exception.connect(report)
    if cause == "a receiver fails":
        smtp_settings_saved.connect(fail)
    else:
        settings.ENCRYPTION_KEYS = ["no key"]
    try:
        url = edit_url(qa) if entry_point == "browser" else "/admin/emailconfig/smtpsettings/add/"
        answer = as_administrator.post(url, {**WITH_PASSWORD, "stage": qa.pk, "version": 0})
    finally:
        smtp_settings_saved.disconnect(fail)
        got_request_exception.disconnect(report)
    assert answer.status_code == 500
    assert len(reports) == 2
    assert "smtp.example.com" in reports[0] or "save_smtp_settings" in reports[0]
    assert not [report for report in reports if CANARY in report]
    assert CANARY not in answer.content.decode()


def test_what_is_encrypted_differs_each_time_and_comes_back_the_same() -> None:
    first, second = encrypt(CANARY), encrypt(CANARY)
    assert first != second
    assert CANARY not in first + second
    assert decrypt(first) == decrypt(second) == CANARY


@pytest.mark.parametrize("plain", ["", "x", "pässwört-€-密码", " ", "x" * 4000])
def test_a_secret_survives_the_database(qa: Stage, plain: str) -> None:
    settings = configure(qa)
    settings.secret = EncryptedValue.of(plain)
    settings.save()
    smtp_settings = SmtpSettings.objects.get()
    assert smtp_settings.secret.reveal() == plain
    assert bool(smtp_settings.secret) is bool(plain)


def test_the_wrong_key_opens_nothing_and_says_so(configured: SmtpSettings, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(UndecryptableSecret, match="ENCRYPTION_KEYS") as refused:
        SmtpSettings.objects.get().secret.reveal()
    assert configured.secret.stored not in str(refused.value)


def test_what_was_tampered_with_is_not_opened(configured: SmtpSettings) -> None:
    with pytest.raises(UndecryptableSecret):
        decrypt(configured.secret.stored[:-4] + "AAA=")


def test_a_new_key_in_front_opens_old_secrets_and_closes_new_ones(configured: SmtpSettings, settings: Settings) -> None:
    old, new = settings.ENCRYPTION_KEYS, Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, *old]
    assert SmtpSettings.objects.get().secret.reveal() == CANARY
    fresh = encrypt("fresh")
    settings.ENCRYPTION_KEYS = [new]
    assert decrypt(fresh) == "fresh"
    settings.ENCRYPTION_KEYS = old
    with pytest.raises(UndecryptableSecret):
        decrypt(fresh)


def test_pages_work_while_the_stored_password_cannot_be_opened(
    as_administrator: Client, configured: SmtpSettings, settings: Settings
) -> None:
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert as_administrator.get("/management/configure/emails/qa/").status_code == 200
    values = {**WITH_PASSWORD, "password": "typed-again", "version": version_of(configured.stage)}
    assert as_administrator.post(edit_url(configured.stage), values).status_code == 302
    assert SmtpSettings.objects.get().secret.reveal() == "typed-again"


def test_a_password_that_cannot_be_opened_is_told_in_words_when_connecting(
    qa: Stage, smtp_server: SmtpServer, settings: Settings
) -> None:
    smtp_settings = configure(qa, smtp_server, authentication="basic", username="portal", new_secret=CANARY)
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(ConnectionFailure, match="can't be decrypted") as trouble:
        connect(smtp_settings)
    assert trouble.value.needs_a_person
    assert smtp_server.logins == []


def test_part_of_the_settings_can_be_read_again(configured: SmtpSettings) -> None:
    configured.refresh_from_db(fields=["version"])
    assert SmtpSettings.objects.only("server").get().server == "smtp.example.com"


def test_settings_that_stay_in_memory_do_not_carry_their_password_elsewhere(configured: SmtpSettings) -> None:
    """As a script would: the instance that was saved, changed and saved once more."""
    with pytest.raises(Exception, match="Enter the password again"):
        configure(configured.stage, **{"server": "smtp.evil.example"}, port=587, security="starttls")
    configured.server = "smtp.evil.example"
    with pytest.raises(Exception, match="Enter the password again"):
        configured.full_clean()
