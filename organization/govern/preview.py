"""What a grant will add before it is saved, and what goes with it when it is revoked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from organization.access import Actor
from organization.govern.rights import Extent, Right, covers, extent_of, not_held, rights_of
from organization.models import App, Member, Role, RoleGrant, Stage
from organization.permissions import Permission


@dataclass(frozen=True)
class GrantPreview:
    """`not_held`: what the one who gives doesn't hold there, so that the grant is refused."""

    extent: Extent
    adds: list[Right]
    already: list[Permission]
    without_effect: list[Permission]
    not_held: list[Permission]

    @property
    def is_nowhere(self) -> bool:
        return self.extent.stages == ()


def preview_grant(member: Member, role: Role, app: App | None, stages: Collection[Stage], actor: Actor) -> GrantPreview:
    extent = extent_of(role, app, stages)
    limited = not extent.is_everywhere
    without_effect = [item for item in role.known_permissions if limited and item.counts_only_everywhere]
    effective = [item for item in role.known_permissions if item not in without_effect]
    added = [(item, _not_covered(member.grants, item, extent)) for item in effective]
    return GrantPreview(
        extent,
        adds=[Right(item, new, role) for item, new in added if new is not None],
        already=[item for item, new in added if new is None],
        without_effect=without_effect,
        not_held=not_held(actor, role.known_permissions, extent.scopes),
    )


def rights_lost_without(grant: RoleGrant) -> list[Right]:
    """The rights that the member doesn't have by another grant."""
    others = [other for other in grant.member.grants if other.pk != grant.pk]
    rest = [(right, _not_covered(others, right.permission, right.extent)) for right in rights_of([grant])]
    return [Right(right.permission, extent, right.role) for right, extent in rest if extent is not None]


def _not_covered(grants: Sequence[RoleGrant], permission: Permission, extent: Extent) -> Extent | None:
    """The part of `extent` in which these grants don't give the permission; None if they give it in all of it."""
    new = [scope for scope in extent.scopes if not any(covers(grant, permission.path, scope) for grant in grants)]
    if extent.stages is None:
        return extent if new else None
    return Extent(extent.app, tuple(scope.stage for scope in new if scope.stage)) if new else None
