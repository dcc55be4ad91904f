"""The header fields that test mail of a stage keeps. Every entry point ends here: permission, validation, change and audit."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from organization import audit
from organization.access import Actor, Scope, allowed, require
from organization.models import KeptHeader, Stage
from organization.permissions import Permission


def may_change(actor: Actor, stage: Stage) -> bool:
    return allowed(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)


def keep_header(stage: Stage, name: str, actor: Actor, *, typed_stage_name: str) -> KeptHeader:
    """From now on the stage's test mail keeps the field `name`; what was accepted before doesn't.

    The stage's name is typed, since a field too many may tell real people of a test. Raises PermissionDenied, ValidationError.
    """
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    if typed_stage_name != stage.name:
        raise ValidationError({"stage_name": f"This isn't the stage's name: it is “{stage.name}”."})
    kept = KeptHeader(stage=stage, name=name.strip(), created_by=str(actor))
    with transaction.atomic():
        Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)  # two who keep the same field at once
        kept.full_clean()
        kept.save()
        audit.record(actor, audit.Operation.CREATE, kept, after=audit.snapshot(kept))
    return kept


def stop_keeping_header(kept: KeptHeader, actor: Actor) -> None:
    """Holds for all test mail that hasn't left yet. Raises PermissionDenied."""
    require(actor, Scope(stage=kept.stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        stored = KeptHeader.objects.select_for_update().filter(pk=kept.pk).first()
        if stored is None:  # two who remove the same field at once
            return
        audit.record(actor, audit.Operation.DELETE, stored, before=audit.snapshot(stored))
        stored.delete()


def kept_headers_sql(stage_column: str, accepted_column: str) -> str:
    """SQL for hand-over: the names in lower case with spaces between them, of what was kept when the message was accepted."""
    joined = "string_agg(lower(kept.name), ' ')" if connection.vendor == "postgresql" else "group_concat(lower(kept.name), ' ')"
    kept = f"kept.stage_id = {stage_column} AND kept.created <= {accepted_column}"
    return f"(SELECT {joined} FROM organization_keptheader kept WHERE {kept})"  # noqa: S608  # names of columns alone
