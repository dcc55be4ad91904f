"""Saving SMTP settings. Every door ends here: permission, validation, change and audit in one transaction."""

from __future__ import annotations

from django.db import transaction

from emailconfig.models import SmtpSettings
from emailconfig.signals import smtp_settings_saved
from organization import audit
from organization.encryption import EncryptedValue
from organization.models import Stage
from organization.permissions import Actor, Permission, Scope, require
from organization.services import check_version


def settings_of(stage: Stage) -> SmtpSettings | None:
    """The stage's settings; None while it is not configured. Never those of another stage."""
    return SmtpSettings.objects.filter(stage=stage).select_related("stage").first()


def save_smtp_settings(settings: SmtpSettings, actor: Actor) -> SmtpSettings:
    """Store `settings` for its stage; they hold for all apps at once, queued mail included.

    `settings.version` is the version that was read; `settings.new_password` a password just typed, or empty to keep
    the stored one. Raises PermissionDenied, ValidationError, StaleVersion; then nothing is stored.
    """
    require(actor, Scope(stage=settings.stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        # One save at a time and stage: also two first ones, which have no row of settings to lock yet.
        # Without keys: mail is accepted for the stage meanwhile, and refers to it.
        Stage.objects.select_for_update(no_key=True).get(pk=settings.stage_id)
        check_version(settings, settings.version)
        before = audit.stored_snapshot(settings)
        settings.full_clean()
        if settings.new_password:
            settings.password, settings.new_password = EncryptedValue.of(settings.new_password), ""
        settings.version += 1
        settings.updated_by = str(actor)
        settings.save()
        operation = "Update" if before else "Create"
        audit.record(actor, operation, settings, before=before, after=audit.snapshot(settings))
        smtp_settings_saved.send(SmtpSettings, settings=settings)
    return settings
