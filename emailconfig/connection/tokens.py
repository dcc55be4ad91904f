"""OAuth 2.0 tokens for a stage's server, by client credentials (RFC 6749 section 4.4).

One token serves all workers: it is kept, encrypted, for the version of the settings it was asked for with, and is renewed
before it ends. However many want one at once, one of them asks.
"""

from __future__ import annotations

import time
from datetime import timedelta

from django.db import IntegrityError
from django.db.models import F, Q
from django.db.models.functions import Now

from common.encryption import EncryptedValue
from common.exceptions import UndecryptableSecret
from emailconfig.connection.token_request import ASK_SECONDS, request_token
from emailconfig.connection.trouble import ConnectionTrouble
from emailconfig.exceptions import SettingsDeleted
from emailconfig.models import OAuthToken, SmtpSettings

# Whoever asks and dies is not waited for longer than this.
_ASKING = timedelta(seconds=ASK_SECONDS + 5)
_WAIT_SECONDS = ASK_SECONDS + 10
_LONGEST_MARGIN_SECONDS = 300


def token_of(settings: SmtpSettings) -> str:
    """A token for these settings. Raises ConnectionTrouble, SettingsDeleted."""
    try:
        return _kept_or_asked_for(settings)
    except (OAuthToken.DoesNotExist, IntegrityError) as error:
        raise SettingsDeleted from error


def _kept_or_asked_for(settings: SmtpSettings) -> str:
    row, _ = OAuthToken.objects.get_or_create(settings=settings)
    refusals, deadline = row.refusals, time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        if token := _kept(settings, renew_at__gt=Now()):
            return token
        if _claim(settings, refusals):
            return _ask(settings)
        if token := _kept(settings, expires__gt=Now()):  # somebody is renewing it; it holds until then
            return token
        row.refresh_from_db()
        if row.refusals != refusals:
            raise ConnectionTrouble("token", row.refusal_code, row.refusal)
        time.sleep(0.1)
    raise ConnectionTrouble("token", "token_timeout", "Another worker asks and has no answer.")


def drop(settings: SmtpSettings, token: str) -> None:
    """The server doesn't take this token: the next one who wants one asks. One that replaced it meanwhile stays."""
    kept = _stored(settings)
    if token and _opened(settings, kept) == token:
        _forget(settings, kept)


def is_worth_another(trouble: ConnectionTrouble) -> bool:
    """Whether a fresh token may help: a kept one can be revoked, or have outlived a change at the provider."""
    return trouble.code == "token_not_accepted"


def _kept(settings: SmtpSettings, **valid: object) -> str:
    return _opened(settings, _stored(settings, **valid))


def _stored(settings: SmtpSettings, **valid: object) -> EncryptedValue:
    found = OAuthToken.objects.filter(settings=settings, version=settings.version, **valid)
    return found.values_list("token", flat=True).first() or EncryptedValue()


def _opened(settings: SmtpSettings, stored: EncryptedValue) -> str:
    """Empty, and forgotten, where its key is lost: another can be had."""
    try:
        return stored.reveal()
    except UndecryptableSecret:
        _forget(settings, stored)
        return ""


def _forget(settings: SmtpSettings, stored: EncryptedValue) -> None:
    OAuthToken.objects.filter(settings=settings, token=stored).update(token=EncryptedValue(), renew_at=None, expires=None)


def _claim(settings: SmtpSettings, refusals: int) -> bool:
    """Whether it is ours to ask, nobody having been refused meanwhile. One conditional update, so that one only hears yes."""
    nobody_asks = Q(asked_at=None) | Q(asked_at__lt=Now() - _ASKING)
    row = OAuthToken.objects.filter(nobody_asks, settings=settings, refusals=refusals)
    return row.exclude(version=settings.version, renew_at__gt=Now()).update(asked_at=Now()) == 1


def _ask(settings: SmtpSettings) -> str:
    row = OAuthToken.objects.filter(settings=settings)
    try:
        token, seconds = request_token(settings)
    except ConnectionTrouble as trouble:
        if kept := _kept(settings, expires__gt=Now()):
            return kept  # asked_at stays: for a while nobody tries again
        # Settings that were changed meanwhile weren't refused.
        row.filter(settings__version=settings.version).update(
            refusals=F("refusals") + 1, refusal_code=trouble.code, refusal=trouble.evidence
        )
        row.update(asked_at=None)
        raise
    margin = min(_LONGEST_MARGIN_SECONDS, seconds / 4)
    row.update(
        asked_at=None,
        version=settings.version,
        token=EncryptedValue.of(token),
        renew_at=Now() + timedelta(seconds=seconds - margin),
        expires=Now() + timedelta(seconds=seconds),
    )
    return token
