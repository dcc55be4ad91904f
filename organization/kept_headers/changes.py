"""Change which header fields the test mail of a stage keeps.

Every entry point uses these services for permission, validation, change and audit.
"""

from __future__ import annotations

from django.db import transaction

from organization import audit
from organization.access import Actor, Scope, allowed, require
from organization.models import KeptHeader, Stage
from organization.permissions import Permission
from organization.stage_name import check_stage_name


def may_change(actor: Actor, stage: Stage) -> bool:
    return allowed(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)


def keep_header(stage: Stage, name: str, actor: Actor, *, typed_stage_name: str) -> KeptHeader:
    """Keep the field `name` in the stage's test mail.

    It isn't kept in messages that were accepted before. The name of the stage must be typed, because one field too many may
    reveal a test to real people. Raises PermissionDenied or ValidationError.
    """
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    check_stage_name(stage, typed_stage_name, field="stage_name")
    kept = KeptHeader(stage=stage, name=name.strip(), created_by=str(actor))
    with transaction.atomic():
        Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)  # two members may add the same field at once
        kept.full_clean()
        kept.save()
        audit.record(actor, audit.Operation.CREATE, kept, after=audit.snapshot(kept))
    return kept


def stop_keeping_header(kept: KeptHeader, actor: Actor) -> None:
    """Stop keeping the field in all test mail that hasn't been sent yet.

    Raises PermissionDenied.
    """
    require(actor, Scope(stage=kept.stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        stored = KeptHeader.objects.select_for_update().filter(pk=kept.pk).first()
        if stored is None:  # two members may remove the same field at once
            return
        audit.record(actor, audit.Operation.DELETE, stored, before=audit.snapshot(stored))
        stored.delete()
