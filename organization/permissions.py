"""What a member may be allowed to do, where, and the one question every door asks.

A permission is granted through roles (models.Role, models.RoleGrant) and answered by backends.RoleGrantBackend, so
that `member.has_perm(Permission.MANAGE_EMAIL_CONFIGURATIONS.path, scope)` works in views, templates and the admin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from django.core.exceptions import PermissionDenied
from django.db import models

if TYPE_CHECKING:
    from organization.models import App, Stage


class Permission(models.TextChoices):
    """Named permissions of the portal. The labels are what the interface and the audit trail show."""

    MANAGE_EMAIL_CONFIGURATIONS = "manage_email_configurations", "Manage Email Configurations"
    EDIT_ASSET_CONFIGURATIONS = "edit_asset_configurations", "Edit asset configurations"
    MANAGE_APPS = "manage_apps", "Create and edit apps"
    MANAGE_ORGANIZATION = "manage_organization", "Manage members, roles and stages"
    ACCESS_ASSET_LOGS = "access_asset_logs", "Access asset logs"
    ACCESS_USER_INFORMATION = "access_user_information", "Access user information"
    RESEND_MAIL = "resend_mail", "Retry, cancel and resend mail"
    RESEND_TO_REAL_RECIPIENTS = "resend_to_real_recipients", "Resend test mail to real recipients"

    @property
    def path(self) -> str:
        """The name as Django's `has_perm` spells it: app label, dot, codename."""
        return f"organization.{self.value}"


@dataclass(frozen=True)
class Scope:
    """Where something is about to happen. `None` asks for the permission over all apps or all stages."""

    app: App | None = None
    stage: Stage | None = None


EVERYWHERE = Scope()


class Actor(Protocol):
    """Whoever acts: a signed-in member, or an operator at the command line."""

    @property
    def name(self) -> str: ...

    def has_perm(self, perm: str, obj: object = None) -> bool: ...


@dataclass(frozen=True)
class Operator:
    """The person at the machine's shell, who holds the database anyway: may do all, and is named in the audit trail."""

    name: str

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return True

    def __str__(self) -> str:
        return self.name


def allowed(actor: Actor, scope: Scope, *permissions: Permission) -> bool:
    """Whether `actor` holds at least one of `permissions` in `scope`."""
    return any(actor.has_perm(permission.path, scope) for permission in permissions)


def require(actor: Actor, scope: Scope, *permissions: Permission) -> None:
    """Raise PermissionDenied (a 403 in the browser) unless `actor` holds one of `permissions` in `scope`."""
    if not allowed(actor, scope, *permissions):
        names = " or ".join(f"“{permission.label}”" for permission in permissions)
        raise PermissionDenied(f"You need the permission {names} for this. Ask an administrator of your organization.")
