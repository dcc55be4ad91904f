"""Changing the encryption key: a new one in front, rotate_keys, and the old one can go."""

from __future__ import annotations

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django import Settings

from common.encryption import EncryptedValue
from common.exceptions import UndecryptableSecret
from emailconfig.models import OAuthToken, SmtpSettings
from organization.models import AuditEvent, Stage
from tests.support.portal import configure


@pytest.fixture
def stored(qa: Stage) -> SmtpSettings:
    settings = configure(qa, authentication="basic", username="portal", security="starttls", new_secret="kanarienvogel")
    OAuthToken.objects.create(settings=settings, token=EncryptedValue.of("a-token"))
    return settings


def rotate() -> str:
    out = StringIO()
    call_command("rotate_keys", stdout=out)
    return out.getvalue()


def test_after_rotation_the_newest_key_alone_opens_everything(stored: SmtpSettings, settings: Settings) -> None:
    new = Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, *settings.ENCRYPTION_KEYS]
    assert "2 stored secrets" in rotate()
    settings.ENCRYPTION_KEYS = [new]
    assert SmtpSettings.objects.get().secret.reveal() == "kanarienvogel"
    assert OAuthToken.objects.get().token.reveal() == "a-token"
    assert SmtpSettings.objects.get().version == stored.version  # open pages can still be saved


def test_without_rotation_the_old_key_is_needed(stored: SmtpSettings, settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(UndecryptableSecret):
        SmtpSettings.objects.get().secret.reveal()


def test_rotation_names_what_no_key_opens_and_goes_on_with_the_rest(stored: SmtpSettings, settings: Settings) -> None:
    new = Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new]
    OAuthToken.objects.update(token=EncryptedValue.of("fresh"))
    before = SmtpSettings.objects.get().secret
    with pytest.raises(CommandError, match="SMTP settings"):
        rotate()
    assert SmtpSettings.objects.get().secret == before  # still there for the day its key is found
    assert OAuthToken.objects.get().token.reveal() == "fresh"


def test_rotation_is_in_the_audit_trail_with_no_secret(stored: SmtpSettings) -> None:
    out = rotate()
    said = out + str(list(AuditEvent.objects.filter(operation="Rotate key").values_list()))
    assert AuditEvent.objects.filter(operation="Rotate key").count() == 2
    assert "kanarienvogel" not in said
    assert "a-token" not in said
