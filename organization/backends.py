"""Answer `member.has_perm(permission, scope)` from role grants."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from organization.access import EVERYWHERE, Scope
from organization.govern.rights import covers
from organization.models import Member
from organization.throttle.attempts import attempt
from organization.throttle.models import Secret
from organization.throttle.networks import client_of


class RoleGrantBackend(ModelBackend):
    """Sign in by email and password, and take permissions from grants.

    A permission without a scope must be granted over the whole organization. Django itself gives superusers every permission,
    before it asks a backend.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> Member | None:
        """Check the password as Django does, which takes as long for an unknown or inactive name. Raises TryLater."""
        username = username or kwargs.get(Member.USERNAME_FIELD)
        if not username or password is None:
            return None

        def checked() -> Member | None:
            member = super(RoleGrantBackend, self).authenticate(request, username, password)
            return member if isinstance(member, Member) else None

        member = Member.objects.filter(email__iexact=username).first()
        return attempt(Secret.PASSWORD, username, client_of(request), checked, member=member)

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
