"""Changes to the organization. Every door ends here: permission, validation, change and audit in one transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import models, transaction

from organization import audit
from organization.models import App, Member, Role, Stage
from organization.permissions import EVERYWHERE, Actor, Permission, Scope, require
from organization.signals import instance_created

M = TypeVar("M", bound=models.Model)

STALE = (
    "Somebody else, or you in another tab, saved a change after you opened this page. Nothing of yours was stored; "
    "open the current values, then change them again."
)


class StaleVersion(ValidationError):
    """What was read is no longer what is stored: a save over it would undo somebody's change."""

    def __init__(self) -> None:
        super().__init__(STALE, code="stale")


def save_app(app: App, actor: Actor) -> App:
    """Store a new or changed app. Raises PermissionDenied, ValidationError, StaleVersion."""
    require(actor, Scope(app=app) if app.pk else EVERYWHERE, Permission.MANAGE_APPS)
    with transaction.atomic():
        check_version(app, app.version)
        app.version += 1
        return _validate_save_record(app, actor)


def save_profile(member: Member) -> Member:
    """Store what members may change about themselves: name, theme, time zone."""
    with transaction.atomic():
        return _validate_save_record(member, member)


def save_in_organization(instance: M, actor: Actor) -> M:
    """Store a stage, member or grant. Raises PermissionDenied, ValidationError."""
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        return _validate_save_record(instance, actor)


def move_stage(stage: Stage, by: int, actor: Actor) -> None:
    """Move a stage `by` so many places, up where negative; beyond the ends it stays there. Raises PermissionDenied."""
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        stages = list(Stage.objects.select_for_update())
        place = stages.index(stage)
        stages.insert(max(0, place + by), stages.pop(place))
        for order, one in enumerate(stages, start=1):
            if one.order != order:
                one.order = order
                _validate_save_record(one, actor)


def save_role(role: Role, stages: Collection[Stage], actor: Actor) -> Role:
    """Store a role that holds in `stages`; in all of them when there are none. Raises PermissionDenied, ValidationError."""
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        return _validate_save_record(role, actor, stages=stages)


def delete_from_organization(instance: models.Model, actor: Actor) -> None:
    """Delete a role or a grant (members are deactivated, stages and apps archived)."""
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        audit.record(actor, "Delete", instance, before=audit.snapshot(instance))
        instance.delete()


def check_version(instance: models.Model, read_at: int) -> None:
    """Lock the stored row and raise StaleVersion unless it still has the version `read_at`. For inside a transaction."""
    if instance.pk is None:
        return
    stored = type(instance)._default_manager.select_for_update().values_list("version", flat=True).get(pk=instance.pk)
    if stored != read_at:
        raise StaleVersion()


def _validate_save_record(instance: M, actor: Actor, **related: Collection[models.Model]) -> M:
    before = audit.stored_snapshot(instance)
    instance.full_clean()
    instance.save()
    for name, values in related.items():
        getattr(instance, name).set(values)
    audit.record(actor, "Update" if before else "Create", instance, before=before, after=audit.snapshot(instance))
    if not before:
        instance_created.send(type(instance), instance=instance)
    return instance
