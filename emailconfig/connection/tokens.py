"""OAuth 2.0 tokens of a stage, by client credentials (RFC 6749 section 4.4).

All workers share one token. It is stored encrypted, together with the version of the settings it was requested with, and it is
renewed before it expires. If several workers need a token at once, only one requests it.
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

# A worker may die while it requests a token. The others wait no longer than this.
_ASKING = timedelta(seconds=ASK_SECONDS + 5)
_WAIT_SECONDS = ASK_SECONDS + 10
_LONGEST_MARGIN_SECONDS = 300


def token_of(settings: SmtpSettings) -> str:
    """A token for these settings. Raises ConnectionTrouble or SettingsDeleted."""
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
        if token := _kept(settings, expires__gt=Now()):  # another worker is renewing it; this one is still valid
            return token
        row.refresh_from_db()
        if row.refusals != refusals:
            raise ConnectionTrouble("token", row.refusal_code, row.refusal)
        time.sleep(0.1)
    raise ConnectionTrouble("token", "token_timeout", "Another worker requested a token and got no answer.")


def drop(settings: SmtpSettings, token: str) -> None:
    """Forget this token, because the server doesn't accept it.

    The next worker requests a new one. A token that has replaced it meanwhile is kept.
    """
    kept = _stored(settings)
    if token and _opened(settings, kept) == token:
        _forget(settings, kept)


def is_worth_another(trouble: ConnectionTrouble) -> bool:
    """Whether a new token may help.

    A stored token can be revoked, or be older than a change at the provider.
    """
    return trouble.code == "token_not_accepted"


def _kept(settings: SmtpSettings, **valid: object) -> str:
    return _opened(settings, _stored(settings, **valid))


def _stored(settings: SmtpSettings, **valid: object) -> EncryptedValue:
    found = OAuthToken.objects.filter(settings=settings, version=settings.version, **valid)
    return found.values_list("token", flat=True).first() or EncryptedValue()


def _opened(settings: SmtpSettings, stored: EncryptedValue) -> str:
    """The decrypted token, or "" if its key is lost.

    Then the token is forgotten, because a new one can be requested.
    """
    try:
        return stored.reveal()
    except UndecryptableSecret:
        _forget(settings, stored)
        return ""


def _forget(settings: SmtpSettings, stored: EncryptedValue) -> None:
    OAuthToken.objects.filter(settings=settings, token=stored).update(token=EncryptedValue(), renew_at=None, expires=None)


def _claim(settings: SmtpSettings, refusals: int) -> bool:
    """Claim the request of a token, and return whether it succeeded.

    It fails if another worker was refused meanwhile. A single conditional update makes sure that only one worker succeeds.
    """
    nobody_asks = Q(asked_at=None) | Q(asked_at__lt=Now() - _ASKING)
    row = OAuthToken.objects.filter(nobody_asks, settings=settings, refusals=refusals)
    return row.exclude(version=settings.version, renew_at__gt=Now()).update(asked_at=Now()) == 1


def _ask(settings: SmtpSettings) -> str:
    row = OAuthToken.objects.filter(settings=settings)
    try:
        token, seconds = request_token(settings)
    except ConnectionTrouble as trouble:
        if kept := _kept(settings, expires__gt=Now()):
            return kept  # asked_at stays set, so that for a while no worker tries again
        # If the settings were changed meanwhile, the refusal isn't theirs.
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
