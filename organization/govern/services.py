"""Change organization roles and grants.

Nobody gives or takes away more than they hold, at any entry point, and one administrator always remains.
"""

from __future__ import annotations

from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.db import models, transaction

from organization import audit
from organization.access import EVERYWHERE, Actor, require
from organization.govern.administrators import keeping_an_administrator
from organization.govern.rights import extent_of, extent_of_grant, require_held, require_role_held
from organization.models import App, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from organization.services import store_version


def save_role(role: Role, stages: Collection[Stage], actor: Actor) -> Role:
    """Store a role that applies in `stages`, or in all stages if that is empty.

    The actor holds everything that it carries, before and after: members may hold the role already. Raises PermissionDenied,
    ValidationError or StaleVersion.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_ROLES)
    with transaction.atomic(), keeping_an_administrator():
        stored = _locked_role(role.pk)
        if stored is not None:
            require_role_held(actor, stored.permissions, stored.stages.all())
        require_role_held(actor, role.permissions, stages)
        return store_version(role, actor, stages=stages)


def delete_role(role: Role, actor: Actor) -> None:
    """Delete a role that isn't granted. Deleting twice is no error. Raises PermissionDenied or ValidationError."""
    require(actor, EVERYWHERE, Permission.MANAGE_ROLES)
    with transaction.atomic():
        stored = Role.objects.select_for_update().filter(pk=role.pk).first()
        if stored is None:
            return
        if stored.built_in:
            raise ValidationError(f"The built-in role {stored} can't be deleted.")
        require_role_held(actor, stored.permissions, stored.stages.all())
        _delete(stored, actor)


def require_second_factor(role: Role, actor: Actor, *, required: bool) -> None:
    """Say whether members with this role need a second factor. That is no edit of the role: built-in ones have it too.

    The actor holds everything that the role carries. Raises PermissionDenied.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_ROLES)
    with transaction.atomic():
        stored = Role.objects.select_for_update(no_key=True).get(pk=role.pk)
        require_role_held(actor, stored.permissions, stored.stages.all())
        if stored.requires_second_factor == required:
            return
        before = audit.snapshot(stored)
        stored.requires_second_factor = required
        stored.version += 1
        stored.save(update_fields=["requires_second_factor", "version"])
        audit.record(actor, audit.Operation.UPDATE, stored, before=before, after=audit.snapshot(stored))


def give_role(member: Member, role: Role, app: App | None, stages: Collection[Stage], actor: Actor) -> RoleGrant:
    """Give a role to a member, over one app or all, in `stages` or in all of the role's.

    Grants add up: if the member has the role there already for other stages, it gets these as well. Raises PermissionDenied,
    ValidationError or StaleVersion.
    """
    existing = RoleGrant.objects.filter(member=member, role=role, app=app, from_single_sign_on=False).first()
    if existing is None:
        return save_grant(RoleGrant(member=member, role=role, app=app), actor, stages)
    given = set(existing.stages.all())
    if not given or (stages and given.issuperset(stages)):
        raise ValidationError({"role": f"{member.name} already has the role {role} there."})
    return save_grant(existing, actor, given.union(stages) if stages else ())


def save_grant(grant: RoleGrant, actor: Actor, stages: Collection[Stage] = ()) -> RoleGrant:
    """Store a grant for these stages, or for all of the role's if there are none.

    Raises PermissionDenied, ValidationError or StaleVersion.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_MEMBERS)
    with transaction.atomic(), keeping_an_administrator():
        role = _locked_role(grant.role_id)  # so that it can't be deleted or widened meanwhile
        stored = RoleGrant.objects.filter(pk=grant.pk).first()
        if stored is not None:
            _require_grant_held(stored, actor)
        if role is not None:
            extent = extent_of(role, grant.app, stages)
            if extent.stages == ():
                limits = ", ".join(stage.name for stage in role.stages.all())
                raise ValidationError({"stages": f"The role {role} applies only in {limits}. Choose among these, or none."})
            require_held(actor, role.known_permissions, extent)
        return store_version(grant, actor, stages=stages)


def revoke_grant(grant: RoleGrant, actor: Actor) -> None:
    """Take a role away from a member. Revoking twice is no error. Raises PermissionDenied or ValidationError."""
    require(actor, EVERYWHERE, Permission.MANAGE_MEMBERS)
    with transaction.atomic(), keeping_an_administrator():
        stored = RoleGrant.objects.select_for_update().filter(pk=grant.pk).first()
        if stored is not None:
            _require_grant_held(stored, actor)
            _delete(stored, actor)


def _locked_role(number: int | None) -> Role | None:
    return None if number is None else Role.objects.select_for_update(no_key=True).filter(pk=number).first()


def _require_grant_held(grant: RoleGrant, actor: Actor) -> None:
    require_held(actor, grant.role.known_permissions, extent_of_grant(grant))


def _delete(stored: Role | RoleGrant, actor: Actor) -> None:
    audit.record(actor, audit.Operation.DELETE, stored, before=audit.snapshot(stored))
    try:
        stored.delete()
    except models.ProtectedError as error:
        raise ValidationError(f"{stored} can't be deleted because it is still in use.") from error
