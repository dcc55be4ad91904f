"""Credentials of apps: made, revoked and checked here.

A plain SHA-256 is right for a random 256-bit secret: it can't be guessed, and a slow hash would only slow the gateway.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from common import sql
from organization import audit
from organization.access import Actor, Scope, require
from organization.exceptions import ArchivedPlace
from organization.models import App, Credential, Stage
from organization.permissions import Permission

MAY_MANAGE = (Permission.EDIT_ASSET_CONFIGURATIONS, Permission.MANAGE_EMAIL_CONFIGURATIONS)
# "Last used" is written at most this often: a gateway under load must not write it with each sign-in.
LAST_USED_RESOLUTION = timedelta(minutes=1)
# The gateway asks it for every group of mails.
_NOT_REVOKED = """
    SELECT credential.id, credential.username, app.id, app.key, app.name, app.archived,
           stage.id, stage.key, stage.name, stage.archived
    FROM organization_credential credential
    JOIN organization_app app ON app.id = credential.app_id JOIN organization_stage stage ON stage.id = credential.stage_id
    WHERE credential.id IN %s AND credential.revoked_at IS NULL
"""


@dataclass(frozen=True)
class NewCredential:
    """A credential and its secret, which exists nowhere else and is shown once."""

    credential: Credential
    password: str


def create_credential(app: App, stage: Stage, actor: Actor, name: str = "Default") -> NewCredential:
    """Make a credential that lets `app` send in `stage`. Raises PermissionDenied, ValidationError."""
    require(actor, Scope(app, stage), *MAY_MANAGE)
    if app.archived or stage.archived:
        raise ValidationError("An archived app or stage can't get a credential.")
    password = secrets.token_urlsafe(32)
    credential = Credential(
        app=app,
        stage=stage,
        name=name,
        username=f"{app.key}-{stage.key}-{secrets.token_hex(4)}",
        secret_hash=_hash(password),
        created_by=str(actor)[:200],
    )
    with transaction.atomic():
        credential.full_clean()
        credential.save()
        audit.record(actor, audit.Operation.CREATE, credential, after=audit.snapshot(credential))
    return NewCredential(credential, password)


def revoke_credential(credential: Credential, actor: Actor) -> None:
    """From now on nobody signs in with `credential`. Revoking twice is no error."""
    require(actor, Scope(credential.app, credential.stage), *MAY_MANAGE)
    with transaction.atomic():
        before = audit.stored_snapshot(credential)
        if Credential.objects.filter(pk=credential.pk, revoked_at=None).update(revoked_at=timezone.now()):
            credential.refresh_from_db()
            audit.record(actor, audit.Operation.REVOKE, credential, before=before, after=audit.snapshot(credential))


def authenticate(username: str, password: str) -> Credential | None:
    """The credential with its app and stage, or None: unknown, wrong or revoked. Raises ArchivedPlace."""
    known = Credential.objects.select_related("app", "stage").filter(username=username)
    credential = known.first() if username.isprintable() else None  # a database can't be asked for every text
    matches = hmac.compare_digest(credential.secret_hash if credential else _hash(""), _hash(password))
    if credential is None or not matches or credential.revoked:
        return None
    for place in (credential.app, credential.stage):
        if place.archived:
            raise ArchivedPlace(f"{place} is archived and sends no mail.")
    now = timezone.now()
    if credential.last_used is None or now - credential.last_used > LAST_USED_RESOLUTION:
        Credential.objects.filter(pk=credential.pk).update(last_used=now)
    return credential


def is_known(username: str) -> bool:
    """Whether there is such a user name; what else people type in its place may be a secret."""
    return username.isprintable() and Credential.objects.filter(username=username).exists()


def not_revoked(credentials: Collection[int]) -> dict[int, Credential]:
    """Those of these credentials, by number, that are not revoked at this moment, with their app and stage."""
    return {
        pk: Credential(
            pk=pk,
            username=username,
            app=App(pk=app_id, key=app_key, name=app_name, archived=bool(app_archived)),
            stage=Stage(pk=stage_id, key=stage_key, name=stage_name, archived=bool(stage_archived)),
        )
        for pk, username, app_id, app_key, app_name, app_archived, stage_id, stage_key, stage_name, stage_archived in sql.fetch(
            _NOT_REVOKED, list(credentials)
        )
    }


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
