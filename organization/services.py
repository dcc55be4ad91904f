"""Changes to the organization. Every door ends here: permission, validation, change and audit in one transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction

from organization import audit
from organization.access import EVERYWHERE, Actor, Scope, require
from organization.models import App, Role, RoleGrant, Stage, VersionedModel
from organization.permissions import Permission
from organization.recipient_policy.policy import RecipientPolicy, policy_of_new_stage
from organization.signals import instance_created

V = TypeVar("V", bound=VersionedModel)
InOrganization = TypeVar("InOrganization", Stage, Role)

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
        return _store(app, actor)


def save_in_organization(instance: InOrganization, actor: Actor) -> InOrganization:
    """Store a stage or role. Raises PermissionDenied, ValidationError, StaleVersion."""
    if isinstance(instance, Stage) and instance.pk is None:
        return create_stage(instance, actor)
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        return _store(instance, actor)


def create_stage(stage: Stage, actor: Actor, policy: RecipientPolicy | None = None) -> Stage:
    """Store a new stage. Without a `policy` it starts with the one that suits its type; a wider one needs the permission to
    manage email configurations. Raises PermissionDenied, ValidationError."""
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    usual = policy_of_new_stage(is_production=stage.is_production)
    if policy is not None and policy.is_wider_than(usual):
        require(actor, EVERYWHERE, Permission.MANAGE_EMAIL_CONFIGURATIONS)
    stage.recipient_policy = policy or usual
    with transaction.atomic():
        return _store(stage, actor)


def save_grant(grant: RoleGrant, actor: Actor) -> RoleGrant:
    """Store a grant. Raises PermissionDenied, ValidationError, StaleVersion."""
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        Role.objects.select_for_update(no_key=True).filter(pk=grant.role_id).first()  # nobody deletes it meanwhile
        return _store(grant, actor)


def move_stage(stage: Stage, by: int, actor: Actor) -> None:
    """Move a stage `by` so many places, up where negative; beyond the ends it stays there. Raises PermissionDenied."""
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        stages = list(Stage.objects.select_for_update(no_key=True))
        place = stages.index(stage)
        stages.insert(max(0, place + by), stages.pop(place))
        for order, one in enumerate(stages, start=1):
            if one.order != order:
                one.order = order
                _store(one, actor)


def save_role(role: Role, stages: Collection[Stage], actor: Actor) -> Role:
    """Store a role that holds in `stages`; in all of them when there are none.

    Raises PermissionDenied, ValidationError, StaleVersion.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        return _store(role, actor, stages=stages)


def delete_from_organization(instance: models.Model, actor: Actor) -> None:
    """Delete a role or a grant (members are deactivated, stages and apps archived).

    Raises PermissionDenied, and ValidationError for a role that is granted. Deleting twice is no error.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_ORGANIZATION)
    with transaction.atomic():
        stored = type(instance)._default_manager.select_for_update().filter(pk=instance.pk).first()
        if stored is None:
            return
        audit.record(actor, "Delete", stored, before=audit.snapshot(stored))
        try:
            stored.delete()
        except models.ProtectedError as error:
            raise ValidationError(f"{stored} is still in use, so it can't be deleted.") from error


def save_validated(instance: models.Model, update_fields: Collection[str] | None = None) -> None:
    """Validate and save. A key that somebody else stored at the same moment is refused as any other that is in use."""
    instance.full_clean()
    try:
        with transaction.atomic():
            instance.save(update_fields=update_fields)
    except IntegrityError:
        instance.full_clean()  # what the validation before couldn't see yet is committed now
        raise


def _check_version(instance: VersionedModel) -> None:
    """Lock the stored row, and raise StaleVersion unless it still has the version of `instance`."""
    if instance.pk is None:
        return
    # Without its key: mail is accepted meanwhile and refers to it.
    locked = type(instance)._default_manager.select_for_update(no_key=True).filter(pk=instance.pk)
    if locked.values_list("version", flat=True).first() != instance.version:
        raise StaleVersion()


def _store(instance: V, actor: Actor, **related: Collection[models.Model]) -> V:
    """Validate, save and record what was read at `instance.version`."""
    _check_version(instance)
    before = audit.stored_snapshot(instance)
    instance.version += 1
    save_validated(instance)
    for name, values in related.items():
        getattr(instance, name).set(values)
    audit.record(actor, "Update" if before else "Create", instance, before=before, after=audit.snapshot(instance))
    if not before:
        instance_created.send(type(instance), instance=instance)
    return instance
