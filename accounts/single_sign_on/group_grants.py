"""Give and take the roles that the provider's groups stand for (`OIDC_GROUP_GRANTS`).

They are grants of their own, beside those that members give: these stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from organization.access import Operator
from organization.govern.services import revoke_grant, save_grant
from organization.models import App, Member, Role, RoleGrant, Stage

log = structlog.get_logger(__name__)

# The operator has decided what the groups stand for.
ACTOR = Operator("single sign-on")

Place = tuple[int, int | None]  # a role, and an app or all


@dataclass(frozen=True)
class _Entry:
    """A role that a group stands for. No stages: all."""

    role: Role
    app: App | None
    stages: frozenset[Stage]

    @property
    def place(self) -> Place:
        return self.role.pk, self.app.pk if self.app else None


def follow_groups(member: Member, groups: frozenset[str]) -> None:
    """Make the member's grants from single sign-on those of these groups.

    A grant that can't be given or taken is left as it is: the last administrator keeps the role. The log says so.
    """
    with transaction.atomic():
        Member.objects.select_for_update(no_key=True).get(pk=member.pk)  # two sign-ins at once follow one after the other
        entries = _merged(_entries(groups))
        given = RoleGrant.objects.filter(member=member, from_single_sign_on=True).select_related("role", "app")
        grants = {(grant.role_id, grant.app_id): grant for grant in given}
        for place, entry in entries.items():
            grant = grants.get(place) or RoleGrant(member=member, role=entry.role, app=entry.app, from_single_sign_on=True)
            if grant.pk is None or entry.stages != frozenset(grant.stages.all()):
                _try_to_save(grant, entry.stages)
        for place in grants.keys() - entries.keys():  # after what replaces them
            _try_to_revoke(grants[place])


def _entries(groups: frozenset[str]) -> Iterable[_Entry]:
    """What names a role, app or stage that isn't there, is left out."""
    for group in sorted(groups & set(settings.OIDC_GROUP_GRANTS)):
        for grant in settings.OIDC_GROUP_GRANTS[group]:
            role = Role.objects.filter(name=grant["role"]).first()
            app = App.objects.filter(key=grant["app"]).first() if "app" in grant else None
            keys = grant.get("stages", [])
            stages = frozenset(Stage.objects.filter(key__in=keys))
            if role is None or ("app" in grant and app is None) or len(stages) < len(set(keys)):
                log.warning("single_sign_on_grant_unknown", group=group, grant=grant)
            else:
                yield _Entry(role, app, stages)


def _merged(entries: Iterable[_Entry]) -> dict[Place, _Entry]:
    """One entry for each role and app: two groups give the stages of both, or all."""
    merged: dict[Place, _Entry] = {}
    for entry in entries:
        before = merged.get(entry.place, entry)
        stages = before.stages | entry.stages if before.stages and entry.stages else frozenset()
        merged[entry.place] = _Entry(entry.role, entry.app, stages)
    return merged


def _try_to_save(grant: RoleGrant, stages: frozenset[Stage]) -> None:
    try:
        save_grant(grant, ACTOR, stages)
    except ValidationError as error:
        log.warning("single_sign_on_grant_refused", member=grant.member_id, role=grant.role.name, error=" ".join(error.messages))


def _try_to_revoke(grant: RoleGrant) -> None:
    try:
        revoke_grant(grant, ACTOR)
    except ValidationError as error:
        log.warning("single_sign_on_grant_kept", member=grant.member_id, role=grant.role.name, error=" ".join(error.messages))
