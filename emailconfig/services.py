"""Saving SMTP settings. Every door ends here: permission, validation, change and audit in one transaction."""

from __future__ import annotations

from django.db import transaction

from common.encryption import EncryptedValue
from emailconfig.models import DeletedSettings, OAuthToken, SmtpSettings
from emailconfig.signals import smtp_settings_deleted, smtp_settings_saved
from organization import audit
from organization.access import Actor, Scope, require
from organization.exceptions import StaleVersion
from organization.models import Stage
from organization.permissions import Permission


def settings_of(stage: Stage) -> SmtpSettings | None:
    """The stage's settings; None while it is not configured. Never those of another stage."""
    return SmtpSettings.objects.filter(stage=stage).select_related("stage").first()


def save_smtp_settings(settings: SmtpSettings, actor: Actor) -> SmtpSettings:
    """Store `settings` for its stage; they hold for all apps at once, queued mail included.

    `settings.version` is the version that was read; `settings.new_secret` a secret just typed, or empty to keep
    the stored one. Raises PermissionDenied, ValidationError, StaleVersion; then nothing is stored.
    """
    require(actor, Scope(stage=settings.stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        _lock_and_check(settings.stage, settings.version)
        before = audit.stored_snapshot(settings)
        settings.full_clean()
        if settings.new_secret:
            settings.secret, settings.new_secret = EncryptedValue.of(settings.new_secret), ""
        settings.version = (settings.version or _last_version(settings.stage)) + 1
        settings.updated_by = str(actor)
        settings.save()
        # A token belongs to the settings it was asked for with; nothing secret is kept for longer than it is used.
        OAuthToken.objects.filter(settings=settings).update(token=EncryptedValue(), renew_at=None, expires=None)
        operation = audit.Operation.UPDATE if before else audit.Operation.CREATE
        audit.record(actor, operation, settings, before=before, after=audit.snapshot(settings))
        smtp_settings_saved.send(SmtpSettings, settings=settings)
    return settings


def delete_smtp_settings(stage: Stage, actor: Actor, *, read_at: int) -> None:
    """The stage is not configured any more: its mail is accepted and held. `read_at` is the version that was read.

    Raises PermissionDenied, StaleVersion; then nothing is deleted.
    """
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        _lock_and_check(stage, read_at)
        settings = settings_of(stage)
        if settings is None:
            return
        audit.record(actor, audit.Operation.DELETE, settings, before=audit.snapshot(settings))
        DeletedSettings.objects.update_or_create(stage=stage, defaults={"version": settings.version})
        settings.delete()
        smtp_settings_deleted.send(SmtpSettings, stage=stage)


def _lock_and_check(stage: Stage, read_at: int) -> None:
    """One change at a time and stage, and none to what isn't there any more as it was read (0: there were no settings)."""
    # The stage's row: the first settings have none of their own yet. Without keys: mail is accepted meanwhile and refers to it.
    Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)
    # And the settings' own row: rotate_keys encrypts its secret again meanwhile.
    rows = SmtpSettings.objects.select_for_update(no_key=True).filter(stage=stage)
    stored = rows.values_list("version", flat=True).first()
    if (stored or 0) != read_at:
        raise StaleVersion


def _last_version(stage: Stage) -> int:
    """The version of the stage's deleted settings; 0 when there never were any."""
    return DeletedSettings.objects.filter(stage=stage).values_list("version", flat=True).first() or 0
