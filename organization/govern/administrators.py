"""The organization always keeps an administrator.

An administrator is an active member who can sign in and holds every permission everywhere. Nobody gives more than they hold, so
without one nobody could ever give a missing permission again, but the operator at the shell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.exceptions import ValidationError
from django.db.models import QuerySet

from organization.builtin_roles import ADMINISTRATOR
from organization.models import Member, Role, RoleGrant
from organization.permissions import Permission

LAST_ADMINISTRATOR = (
    "This would leave the organization without an administrator. "
    f"Give another active member the role {ADMINISTRATOR} for all apps and stages first."
)


@contextmanager
def keeping_an_administrator() -> Iterator[None]:
    """Raise ValidationError if the change inside takes away the last administrator. Use it inside a transaction.

    Such changes wait for each other at the row of the built-in role: two administrators who deactivate each other at the same
    moment don't both succeed.
    """
    Role.objects.select_for_update(no_key=True).filter(name=ADMINISTRATOR, built_in=True).first()
    had_one = has_administrator()
    yield
    if had_one and not has_administrator():
        raise ValidationError(LAST_ADMINISTRATOR, code="last_administrator")


def has_administrator() -> bool:
    members = Member.objects.filter(is_active=True).exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)
    return members.filter(is_superuser=True).exists() or _holds_everything_by_roles(members)


def _holds_everything_by_roles(members: QuerySet[Member]) -> bool:
    unlimited = RoleGrant.objects.filter(member__in=members, app=None, stages=None, role__stages=None)
    held: defaultdict[int, set[str]] = defaultdict(set)
    for member_id, codes in unlimited.values_list("member_id", "role__permissions"):
        held[member_id].update(codes)
    return any(codes.issuperset(Permission.values) for codes in held.values())
