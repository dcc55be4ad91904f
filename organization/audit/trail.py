"""Write to the audit trail: who did what, with secrets masked.

`record()` is the only way to write to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from common.encryption import EncryptedTextField
from common.text import storable
from organization.access import EVERYWHERE, Actor, Scope
from organization.models import App, AuditEvent, Member, Stage

Operation = AuditEvent.Operation
MASK = "••••••••"


class _Masked(str):
    """Dots in place of a secret.

    Two are equal only if their secrets are equal, so that a change is noticed.
    """

    _hidden: object

    def __new__(cls, hidden: object) -> _Masked:
        masked = super().__new__(cls, MASK if hidden else "")
        masked._hidden = hidden
        return masked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Masked) and other._hidden == self._hidden

    def __ne__(self, other: object) -> bool:  # str defines its own
        return not self == other

    def __hash__(self) -> int:
        return hash(self._hidden)


_SECRET_FIELDS = frozenset({"password", "secret_hash"})
_encoder = DjangoJSONEncoder()

Values = dict[str, Any]


def snapshot(instance: models.Model) -> Values:
    """The stored values of `instance` as they may be shown.

    A secret is a mask when set and empty when not. Another row is its name, which can be read when that row is gone. What the
    model names in AUDIT_SUMMARIES is told in short.
    """
    values: Values = {}
    summaries: dict[str, Callable[[str], str]] = getattr(instance, "AUDIT_SUMMARIES", {})
    for field in instance._meta.concrete_fields:
        value = getattr(instance, field.attname)
        if isinstance(field, EncryptedTextField) or field.name in _SECRET_FIELDS:
            values[field.name] = _Masked(value)
        elif field.name in summaries:
            values[field.name] = summaries[field.name](value)
        elif isinstance(field, models.ForeignKey):
            values[field.name] = None if value is None else str(getattr(instance, field.name))
        elif value is None or isinstance(value, str | int | float | bool | list | dict):
            values[field.name] = value
        else:
            values[field.name] = _encoder.default(value)
    if instance.pk:
        for related in instance._meta.many_to_many:
            values[related.name] = sorted(str(row) for row in getattr(instance, related.name).all())
    return values


def stored_snapshot(instance: models.Model) -> Values:
    """The snapshot of the row that is stored for `instance`; empty for a new instance."""
    stored = type(instance)._default_manager.filter(pk=instance.pk).first() if instance.pk else None
    return snapshot(stored) if stored else {}


def record(
    actor: Actor,
    operation: Operation,
    subject: models.Model | type[models.Model],
    *,
    scope: Scope | None = None,
    before: Values | None = None,
    after: Values | None = None,
    status: AuditEvent.Status = AuditEvent.Status.SUCCEEDED,
) -> AuditEvent:
    """Append one event.

    Call it in the transaction that makes the change, so that both are stored or neither. `before` and `after` are snapshots, of
    which only the values that differ are kept. `subject` is the changed instance, or a model for all of its instances. Raises
    ValueError for an operation that isn't one of Operation.
    """
    before, after = before or {}, after or {}
    if before and after:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        before = {name: value for name, value in before.items() if name in changed}
        after = {name: value for name, value in after.items() if name in changed}
    before, after = storable(before), storable(after)
    if isinstance(subject, type):
        scope, entity_id, entity_name = scope or EVERYWHERE, "", str(subject._meta.verbose_name_plural)
    else:
        scope, entity_id, entity_name = scope or scope_of(subject), str(subject.pk or ""), storable(str(subject)[:400])
    return AuditEvent.objects.create(
        actor=actor if isinstance(actor, Member) else None,
        actor_name=storable(str(actor)[:360]),
        operation=Operation(operation).value,
        entity=str(subject._meta.verbose_name),
        entity_id=entity_id,
        entity_name=entity_name,
        app=scope.app,
        stage=scope.stage,
        status=status,
        before=before,
        after=after,
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
    )


def scope_of(subject: models.Model) -> Scope:
    """The app and stage that `subject` is or belongs to."""
    app = subject if isinstance(subject, App) else getattr(subject, "app", None)
    stage = subject if isinstance(subject, Stage) else getattr(subject, "stage", None)
    return Scope(app=app, stage=stage)
