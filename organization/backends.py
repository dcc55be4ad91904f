"""Answer `member.has_perm(permission, scope)` from role grants."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

from organization.access import EVERYWHERE, Scope
from organization.govern.rights import covers
from organization.models import Member


class RoleGrantBackend(ModelBackend):
    """Sign in by email and password, and take permissions from grants.

    A permission without a scope must be granted over the whole organization. Django itself gives superusers every permission,
    before it asks a backend.
    """

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if not isinstance(user_obj, Member) or not user_obj.is_active:
            return False
        scope = obj if isinstance(obj, Scope) else EVERYWHERE
        return any(covers(grant, perm, scope) for grant in user_obj.grants)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return isinstance(user_obj, Member) and user_obj.is_active and user_obj.is_staff

    def get_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()
