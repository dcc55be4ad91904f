"""What a grant carries, which rights a member has and why, and that nobody gives more than they hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from organization.access import Actor, Scope, allowed
from organization.exceptions import MoreThanHeld
from organization.models import App, Member, Role, RoleGrant, Stage
from organization.permissions import Permission, with_needed


@dataclass(frozen=True)
class Extent:
    """How far a grant reaches: over an app or all apps, in these stages or in all of them (`None`)."""

    app: App | None = None
    stages: tuple[Stage, ...] | None = None

    @property
    def scopes(self) -> list[Scope]:
        """The scopes that a grant of this extent covers. Together they are all that it gives."""
        if self.stages is None:
            return [Scope(app=self.app)]
        return [Scope(self.app, stage) for stage in self.stages]

    @property
    def is_everywhere(self) -> bool:
        return self.app is None and self.stages is None

    def __str__(self) -> str:
        apps = self.app.name if self.app else "all apps"
        stages = "all stages" if self.stages is None else ", ".join(stage.name for stage in self.stages) or "no stage"
        return "the whole organization" if self.is_everywhere else f"{apps} in {stages}"


@dataclass(frozen=True)
class Right:
    """A permission that a member has, how far it reaches, and the role that it comes from."""

    permission: Permission
    extent: Extent
    role: Role

    @property
    def where(self) -> str:
        return str(self.extent)


def extent_of(role: Role, app: App | None, stages: Collection[Stage]) -> Extent:
    """The extent of a grant of `role` for these `stages`, or for all stages of the role if that is empty."""
    of_role = list(role.stages.all())
    if not of_role and not stages:
        return Extent(app)
    limited = of_role or list(stages)
    return Extent(app, tuple(stage for stage in limited if not stages or stage in stages))


def rights_of_grant(role: Role, extent: Extent) -> list[Right]:
    """A permission about the organization is a right only where the grant has no limits."""
    if extent.stages == ():
        return []
    effective = (item for item in role.known_permissions if extent.is_everywhere or not item.counts_only_everywhere)
    return [Right(permission, extent, role) for permission in effective]


def rights_of(grants: Iterable[RoleGrant]) -> list[Right]:
    """All rights from these grants, in the order of permissions."""
    rights = [right for grant in grants for right in rights_of_grant(grant.role, extent_of_grant(grant))]
    order = list(Permission)
    return sorted(rights, key=lambda right: order.index(right.permission))


def extent_of_grant(grant: RoleGrant) -> Extent:
    return extent_of(grant.role, grant.app, list(grant.stages.all()))


def not_held(actor: Actor, permissions: Iterable[Permission], scopes: Sequence[Scope]) -> list[Permission]:
    """Those of these `permissions` that `actor` doesn't hold in every one of `scopes`."""
    return [permission for permission in permissions if not all(allowed(actor, scope, permission) for scope in scopes)]


def require_held(actor: Actor, permissions: Iterable[Permission], extent: Extent) -> None:
    """Raise MoreThanHeld unless `actor` holds all of `permissions` in this whole extent."""
    missing = not_held(actor, permissions, extent.scopes)
    if missing:
        raise MoreThanHeld([permission.label for permission in missing], str(extent))


def require_role_held(actor: Actor, codes: Iterable[str], stages: Collection[Stage]) -> None:
    """For a role with these permissions, which may be granted over all apps."""
    complete = with_needed(codes)
    require_held(actor, [item for item in Permission if item.value in complete], Extent(None, tuple(stages) or None))


def may_change_role(actor: Actor, role: Role) -> bool:
    """Whether the role is one of the organization's own, and carries nothing that `actor` doesn't hold."""
    return not role.built_in and holds_role(actor, role)


def holds_role(actor: Actor, role: Role) -> bool:
    """Whether the role carries nothing that `actor` doesn't hold."""
    stages = tuple(role.stages.all()) or None
    return not not_held(actor, role.known_permissions, Extent(None, stages).scopes)


def holds_rights_of(actor: Actor, member: Member) -> bool:
    """Whether `actor` holds every right of `member`. A new password would let the actor in as that member."""
    if not isinstance(actor, Member) or actor.is_superuser:
        return True
    if member.is_superuser or (member.is_staff and not actor.is_staff):
        return False
    grants = member.grants if member.pk else []
    return not any(not_held(actor, grant.role.known_permissions, extent_of_grant(grant).scopes) for grant in grants)


def covers(grant: RoleGrant, perm: str, scope: Scope) -> bool:
    """Whether the grant gives the permission in the whole of `scope`."""
    return (
        grant.role.includes(perm)
        and (grant.app_id is None or (scope.app is not None and grant.app_id == scope.app.pk))
        and all(_include(limited.stages.all(), scope.stage) for limited in (grant.role, grant))
    )


def _include(stages: Iterable[Stage], stage: Stage | None) -> bool:
    """Whether `stages`, which are all if there are none, include this one, or all if it is None."""
    numbers = {limit.pk for limit in stages}
    return not numbers or (stage is not None and stage.pk in numbers)
