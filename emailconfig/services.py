"""Save and delete SMTP settings.

Every entry point uses these services. Permission, validation, change and audit are in one transaction.
"""

from __future__ import annotations

from django.db import transaction

from common.encryption import EncryptedValue
from emailconfig.models import DeletedSettings, OAuthToken, SmtpSettings
from emailconfig.signals import say_what_is_held, smtp_settings_deleted, smtp_settings_saved
from organization import audit
from organization.access import EVERYWHERE, Actor, Scope, require
from organization.exceptions import StaleVersion
from organization.models import Stage
from organization.permissions import Permission


def settings_of(stage: Stage) -> SmtpSettings | None:
    """The stage's settings, or None while the stage isn't configured.

    They are never those of another stage.
    """
    return SmtpSettings.objects.filter(stage=stage).select_related("stage").first()


def save_smtp_settings(settings: SmtpSettings, actor: Actor) -> SmtpSettings:
    """Store `settings` for their stage.

    They apply to all apps at once, including queued messages. `settings.version` is the version that was read.
    `settings.new_secret` is a secret that was just entered, or empty to keep the stored one. Raises PermissionDenied,
    ValidationError or StaleVersion. Then nothing is stored.
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
        # A token belongs to the settings it was requested with. No secret is kept longer than it is used.
        OAuthToken.objects.filter(settings=settings).update(token=EncryptedValue(), renew_at=None, expires=None)
        operation = audit.Operation.UPDATE if before else audit.Operation.CREATE
        audit.record(actor, operation, settings, before=before, after=audit.snapshot(settings))
        smtp_settings_saved.send(SmtpSettings, settings=settings)
    return settings


def delete_smtp_settings(stage: Stage, actor: Actor, *, expected_version: int) -> None:
    """Delete the stage's settings.

    The stage is then no longer configured: its messages are accepted and held. `expected_version` is the version that was read.
    Raises PermissionDenied or StaleVersion. Then nothing is deleted.
    """
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        _lock_and_check(stage, expected_version)
        settings = settings_of(stage)
        if settings is None:
            return
        audit.record(actor, audit.Operation.DELETE, settings, before=audit.snapshot(settings))
        DeletedSettings.objects.update_or_create(stage=stage, defaults={"version": settings.version})
        settings.delete()
        smtp_settings_deleted.send(SmtpSettings, stage=stage)


def forget_secrets(actor: Actor) -> int:
    """Remove every stage's secret and token, as a test copy must. Returns how many stages had a secret.

    Raises PermissionDenied.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        OAuthToken.objects.all().delete()
        with_secret = [row for row in SmtpSettings.objects.select_for_update(of=("self",)).select_related("stage") if row.secret]
        for settings in with_secret:
            before = audit.snapshot(settings)
            settings.secret = EncryptedValue()
            settings.version, settings.updated_by = settings.version + 1, str(actor)
            settings.save(update_fields=["secret", "version", "updated_by"])
            audit.record(actor, audit.Operation.UPDATE, settings, before=before, after=audit.snapshot(settings))
    return len(with_secret)


def held_mail_in_words(stage: Stage) -> str:
    """What a person should hear about the stage's held messages; empty if there are none that ask."""
    return " ".join(str(answer) for _, answer in say_what_is_held.send(SmtpSettings, stage=stage) if answer)


def _lock_and_check(stage: Stage, expected_version: int) -> None:
    """Allow one change of a stage at a time, and only to the version that was read.

    `expected_version` is 0 if there were no settings. Raises StaleVersion.
    """
    # Lock the stage's row, because the first settings have no row yet. `no_key` lets new messages refer to the stage meanwhile.
    Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)
    # Lock the settings' own row too, because rotate_keys may be encrypting its secret again.
    rows = SmtpSettings.objects.select_for_update(no_key=True).filter(stage=stage)
    stored = rows.values_list("version", flat=True).first()
    if (stored or 0) != expected_version:
        raise StaleVersion


def _last_version(stage: Stage) -> int:
    """The version of the stage's deleted settings, or 0.

    New settings continue from it, so that a version never means two different settings. A form that was left open and the email
    log rely on this.
    """
    return DeletedSettings.objects.filter(stage=stage).values_list("version", flat=True).first() or 0
