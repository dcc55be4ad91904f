"""Change the organization.

Every entry point uses these services. Permission, validation, change and audit are in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction

from common.clock import database_now
from organization import audit
from organization.access import EVERYWHERE, Actor, Scope, allowed, require
from organization.exceptions import StaleVersion
from organization.models import App, Stage, VersionedModel
from organization.permissions import Permission
from organization.recipient_policy.changes import policy_in_force
from organization.recipient_policy.policy import RecipientPolicy, policy_of_new_stage
from organization.signals import instance_created

V = TypeVar("V", bound=VersionedModel)

NEEDS_PERMISSION = (
    "To create a stage that sends to real recipients and isn't Production, you need the permission Manage Email Configurations. "
    "Choose a narrower policy, or ask a member who has it."
)
STAYS_OPEN = (
    "{} sends to real recipients, and would still do so as another type. Ask a member who has the permission Manage Email "
    "Configurations to change the type, or to narrow the recipient policy first."
)


def save_app(app: App, actor: Actor) -> App:
    """Store a new or changed app.

    Raises PermissionDenied, ValidationError or StaleVersion.
    """
    with transaction.atomic():
        _require_for_app(app, actor)
        return store_version(app, actor)


def _require_for_app(app: App, actor: Actor) -> None:
    if app.is_built_in:
        raise ValidationError(f"The app {app} is built in, so it can't be changed or archived.")
    if app.pk is None:
        require(actor, EVERYWHERE, Permission.CREATE_APPS)
        return
    require(actor, Scope(app=app), Permission.CHANGE_APPS)
    if App.objects.filter(pk=app.pk).exclude(archived=app.archived).exists():
        require(actor, Scope(app=app), Permission.ARCHIVE_APPS)


def save_in_organization(stage: Stage, actor: Actor) -> Stage:
    """Store a stage. Raises PermissionDenied, ValidationError or StaleVersion."""
    if stage.pk is None:
        return create_stage(stage, actor)
    require(actor, EVERYWHERE, Permission.MANAGE_STAGES)
    with transaction.atomic():
        _check_kind(stage, actor)
        return store_version(stage, actor)


def _check_kind(stage: Stage, actor: Actor) -> None:
    """A change of the type never changes the policy, so it must not be the way around the permission to open a stage."""
    stored = Stage.objects.select_for_update(no_key=True).filter(pk=stage.pk).first()
    if stored is None or stage.is_production or not stored.is_production:
        return
    is_open = policy_in_force(stored, database_now()) == RecipientPolicy.AS_APPS_ASK
    if is_open and not allowed(actor, Scope(stage=stored), Permission.MANAGE_EMAIL_CONFIGURATIONS):
        raise ValidationError({"kind": STAYS_OPEN.format(stored)})


def create_stage(stage: Stage, actor: Actor, policy: RecipientPolicy | None = None) -> Stage:
    """Store a new stage, which starts with `policy`, or with the one that suits its type.

    A wider one needs the permission to manage email configurations. Raises PermissionDenied, and ValidationError (also with
    the field `policy`).
    """
    require(actor, EVERYWHERE, Permission.MANAGE_STAGES)
    usual = policy_of_new_stage(is_production=stage.is_production)
    is_wider = policy is not None and policy.is_wider_than(usual)
    if is_wider and not allowed(actor, EVERYWHERE, Permission.MANAGE_EMAIL_CONFIGURATIONS):
        raise ValidationError({"policy": NEEDS_PERMISSION})
    stage.recipient_policy = policy or usual
    with transaction.atomic():
        return store_version(stage, actor)


def move_stage(stage: Stage, by: int, actor: Actor) -> None:
    """Move a stage by `by` places in the order, up if negative.

    It doesn't move beyond either end. Raises PermissionDenied.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_STAGES)
    with transaction.atomic():
        stages = list(Stage.objects.select_for_update(no_key=True))
        place = stages.index(stage)
        stages.insert(max(0, place + by), stages.pop(place))
        for order, other in enumerate(stages, start=1):
            if other.order != order:
                other.order = order
                store_version(other, actor)


def save_validated(instance: models.Model, update_fields: Collection[str] | None = None) -> None:
    """Validate and save `instance`.

    A key that another transaction stored at the same moment raises the same ValidationError as any other key in use.
    """
    instance.full_clean()
    try:
        with transaction.atomic():
            instance.save(update_fields=update_fields)
    except IntegrityError:
        instance.full_clean()  # the other row is committed now, so that this validation can see it
        raise


def _check_version(instance: VersionedModel) -> None:
    """Lock the stored row; raise StaleVersion if `instance` has another version."""
    if instance.pk is None:
        return
    # `no_key` lets new messages refer to the row meanwhile.
    locked = type(instance)._default_manager.select_for_update(no_key=True).filter(pk=instance.pk)
    if locked.values_list("version", flat=True).first() != instance.version:
        raise StaleVersion()


def store_version(instance: V, actor: Actor, **related: Collection[models.Model]) -> V:
    """Validate, save and record a change to the version that was read."""
    _check_version(instance)
    before = audit.stored_snapshot(instance)
    instance.version += 1
    save_validated(instance)
    for name, values in related.items():
        getattr(instance, name).set(values)
    audit.record(
        actor,
        audit.Operation.UPDATE if before else audit.Operation.CREATE,
        instance,
        before=before,
        after=audit.snapshot(instance),
    )
    if not before:
        instance_created.send(type(instance), instance=instance)
    return instance
