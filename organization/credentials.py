"""Create, revoke and check the credentials of apps.

A plain SHA-256 is enough for a random 256-bit secret. It can't be guessed, and a slow hash would only slow the gateway down.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import date, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from organization import audit
from organization.access import Actor, Scope, require
from organization.exceptions import CredentialRefused
from organization.models import App, Credential, Stage
from organization.permissions import Permission
from organization.services import store_version

MAY_MANAGE = (Permission.EDIT_ASSET_CONFIGURATIONS, Permission.MANAGE_EMAIL_CONFIGURATIONS)
# "Last used" is written at most this often, so that a busy gateway doesn't write it with each sign-in.
LAST_USED_RESOLUTION = timedelta(minutes=1)


@dataclass(frozen=True)
class NewCredential:
    """A credential and its secret, which is shown once and stored nowhere."""

    credential: Credential
    password: str


def create_credential(
    app: App, stage: Stage, actor: Actor, name: str = "Default", *, ends: date | None = None, networks: str = ""
) -> NewCredential:
    """Create a credential that lets `app` send in `stage`, until the end of its last day and from its networks.

    Raises PermissionDenied or ValidationError.
    """
    require(actor, Scope(app, stage), *MAY_MANAGE)
    if app.is_built_in:
        raise ValidationError(f"The app {app} is built in and needs no credential.")
    if app.archived or stage.archived:
        raise ValidationError("An archived app or stage can't get a credential. Restore it first.")
    password = secrets.token_urlsafe(32)
    credential = Credential(
        app=app,
        stage=stage,
        name=name,
        ends=ends,
        networks=networks,
        username=f"{app.key}-{stage.key}-{secrets.token_hex(4)}",
        secret_hash=_hash(password),
        created_by=str(actor)[:200],
    )
    _check_end(credential)
    with transaction.atomic():
        credential.full_clean()
        credential.save()
        audit.record(actor, audit.Operation.CREATE, credential, after=audit.snapshot(credential))
    return NewCredential(credential, password)


def change_credential(credential: Credential, actor: Actor) -> None:
    """Store another name, last day or networks of a credential, to the version that was read.

    Raises PermissionDenied, ValidationError or StaleVersion. A revoked credential stays as it is.
    """
    require(actor, Scope(credential.app, credential.stage), *MAY_MANAGE)
    with transaction.atomic():
        stored = Credential.objects.select_for_update().get(pk=credential.pk)
        if stored.revoked:
            raise ValidationError("A revoked credential can't be changed. Create another one.")
        if credential.ends != stored.ends:
            _check_end(credential)
        for name in ("name", "ends", "networks", "version"):  # when it was used last may have changed since it was read
            setattr(stored, name, getattr(credential, name))
        store_version(stored, actor)


def _check_end(credential: Credential) -> None:
    if credential.is_expired:
        raise ValidationError({"ends": "The last day is in the past. To end a credential now, revoke it."})


def revoke_credential(credential: Credential, actor: Actor) -> None:
    """End every further sign-in with `credential`. Revoking twice is no error."""
    require(actor, Scope(credential.app, credential.stage), *MAY_MANAGE)
    with transaction.atomic():
        before = audit.stored_snapshot(credential)
        if Credential.objects.filter(pk=credential.pk, revoked_at=None).update(revoked_at=timezone.now()):
            credential.refresh_from_db()
            audit.record(actor, audit.Operation.REVOKE, credential, before=before, after=audit.snapshot(credential))


def revoke_all_credentials(actor: Actor) -> int:
    """Revoke every credential of all apps and stages, as in a test copy. Returns how many were in use."""
    credentials = list(Credential.objects.filter(revoked_at=None).select_related("app", "stage"))
    for credential in credentials:
        revoke_credential(credential, actor)
    return len(credentials)


def authenticate(username: str, password: str, client: str) -> Credential | None:
    """Check a username and password, and return the credential with its app and stage.

    `client` is the IP address of the client. The result is None if the credential is unknown or revoked, or the password is
    wrong. Raises CredentialRefused.
    """
    known = Credential.objects.select_related("app", "stage").filter(username=username)
    credential = known.first() if username.isprintable() else None  # a database refuses some characters in a query
    matches = hmac.compare_digest(credential.secret_hash if credential else _hash(""), _hash(password))
    if credential is None or not matches or credential.revoked:
        return None
    if reason := _why_refused(credential, client):
        raise CredentialRefused(reason)
    _record_use(credential, client)
    return credential


def _why_refused(credential: Credential, client: str) -> str:
    for place in (credential.app, credential.stage):
        if place.archived:
            return f"{place} is archived and sends no mail."
    if credential.is_expired:
        return f"The credential expired on {credential.ends}. Create another one for the app."
    if not credential.allows_client(client):
        return f"The credential can't be used from {client}."
    return ""


def _record_use(credential: Credential, client: str) -> None:
    now = timezone.now()
    is_recent = credential.last_used is not None and now - credential.last_used <= LAST_USED_RESOLUTION
    if not is_recent or credential.last_used_from != client:
        Credential.objects.filter(pk=credential.pk).update(last_used=now, last_used_from=client)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
