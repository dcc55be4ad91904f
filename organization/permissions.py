"""The permissions of the portal.

A permission is granted through roles (models.Role, models.RoleGrant) and checked by backends.RoleGrantBackend, so that
`member.has_perm(Permission.MANAGE_EMAIL_CONFIGURATIONS.path, scope)` works in views, templates and Django admin.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db import models


class Permission(models.TextChoices):
    """A permission; pages and the audit trail show its label."""

    EDIT_ASSET_CONFIGURATIONS = "edit_asset_configurations", "Edit asset configurations"
    MANAGE_EMAIL_CONFIGURATIONS = "manage_email_configurations", "Manage Email Configurations"
    ACCESS_ASSET_LOGS = "access_asset_logs", "Access asset logs"
    ACCESS_USER_INFORMATION = "access_user_information", "Access user information"
    RESEND_MAIL = "resend_mail", "Retry and resend"
    RESEND_TO_REAL_RECIPIENTS = "resend_to_real_recipients", "Resend to real recipients"
    VIEW_STAGES = "view_stages", "View stages"
    MANAGE_STAGES = "manage_stages", "Manage stages"
    CREATE_APPS = "create_apps", "Create apps"
    CHANGE_APPS = "change_apps", "Change apps"
    ARCHIVE_APPS = "archive_apps", "Archive apps"
    VIEW_MEMBERS = "view_members", "View members"
    MANAGE_MEMBERS = "manage_members", "Manage members"
    MANAGE_ROLES = "manage_roles", "Manage roles"
    REMOVE_SECOND_FACTORS = "remove_second_factors", "Remove second factors"
    VIEW_AUDIT_TRAIL = "view_audit_trail", "View audit trail"

    @property
    def path(self) -> str:
        """The name that Django's has_perm() takes: app label, dot, codename."""
        return f"organization.{self.value}"

    @property
    def needs(self) -> tuple[Permission, ...]:
        """The permissions that a role with this one has as well, because this one is of no use without them."""
        return _NEEDS.get(self, ())

    @property
    def counts_only_everywhere(self) -> bool:
        """Whether it is about the organization, so that a grant for one app or some stages has no effect."""
        return self in _ORGANIZATION

    @property
    def allows(self) -> str:
        """What it lets a member do, in a few words."""
        return _ALLOWS[self]


class Category(NamedTuple):
    """Permissions that belong together, as ODC groups them."""

    label: str
    permissions: tuple[Permission, ...]


CATEGORIES = (
    Category("Configuration management", (Permission.EDIT_ASSET_CONFIGURATIONS, Permission.MANAGE_EMAIL_CONFIGURATIONS)),
    Category(
        "Monitoring",
        (
            Permission.ACCESS_ASSET_LOGS,
            Permission.ACCESS_USER_INFORMATION,
            Permission.RESEND_MAIL,
            Permission.RESEND_TO_REAL_RECIPIENTS,
        ),
    ),
    Category("Portfolio management", (Permission.VIEW_STAGES, Permission.MANAGE_STAGES)),
    Category("Asset management", (Permission.CREATE_APPS, Permission.CHANGE_APPS, Permission.ARCHIVE_APPS)),
    Category(
        "User and access management",
        (Permission.VIEW_MEMBERS, Permission.MANAGE_MEMBERS, Permission.MANAGE_ROLES, Permission.REMOVE_SECOND_FACTORS),
    ),
    Category("Organization management", (Permission.VIEW_AUDIT_TRAIL,)),
)

_NEEDS = {
    Permission.RESEND_MAIL: (Permission.ACCESS_ASSET_LOGS,),
    Permission.RESEND_TO_REAL_RECIPIENTS: (Permission.RESEND_MAIL,),
    Permission.MANAGE_STAGES: (Permission.VIEW_STAGES,),
    Permission.ARCHIVE_APPS: (Permission.CHANGE_APPS,),
    Permission.MANAGE_MEMBERS: (Permission.VIEW_MEMBERS,),
    Permission.MANAGE_ROLES: (Permission.VIEW_MEMBERS,),
    Permission.REMOVE_SECOND_FACTORS: (Permission.VIEW_MEMBERS,),
}

_ORGANIZATION = frozenset(
    {
        Permission.VIEW_STAGES,
        Permission.MANAGE_STAGES,
        Permission.CREATE_APPS,
        Permission.VIEW_MEMBERS,
        Permission.MANAGE_MEMBERS,
        Permission.MANAGE_ROLES,
        Permission.REMOVE_SECOND_FACTORS,
        Permission.VIEW_AUDIT_TRAIL,
    }
)

_ALLOWS = {
    Permission.EDIT_ASSET_CONFIGURATIONS: "Edit test lists, pause an app's emails, create and revoke credentials.",
    Permission.MANAGE_EMAIL_CONFIGURATIONS: "Everything about a stage's SMTP settings and who gets email from it.",
    Permission.ACCESS_ASSET_LOGS: "Read the email log and Analytics. Addresses are masked.",
    Permission.ACCESS_USER_INFORMATION: "See whole addresses, and in the log what emails say.",
    Permission.RESEND_MAIL: "Retry, cancel and resend an email, and empty an inbox.",
    Permission.RESEND_TO_REAL_RECIPIENTS: "Send an email past the test list, to real people.",
    Permission.VIEW_STAGES: "Open the page of all stages.",
    Permission.MANAGE_STAGES: "Create, rename, order, archive and restore stages.",
    Permission.CREATE_APPS: "Create an app.",
    Permission.CHANGE_APPS: "Change an app's name, description and icon.",
    Permission.ARCHIVE_APPS: "Archive and restore an app.",
    Permission.VIEW_MEMBERS: "See all members and roles, and who may do what.",
    Permission.MANAGE_MEMBERS: "Add, edit and deactivate members, and give them roles.",
    Permission.MANAGE_ROLES: "Create, edit and delete roles.",
    Permission.REMOVE_SECOND_FACTORS: "Remove a member's authenticator app, passkeys and recovery codes.",
    Permission.VIEW_AUDIT_TRAIL: "Read and export the audit trail.",
}

# What the release before knew in place of several permissions. A role that has all of them keeps the code, which only that
# release reads: after the way back to it members may do what they may do now.
FORMER_CODES = {
    "manage_apps": {Permission.CREATE_APPS.value, Permission.CHANGE_APPS.value, Permission.ARCHIVE_APPS.value},
    "manage_organization": {
        item.value for item in _ORGANIZATION if item not in (Permission.CREATE_APPS, Permission.REMOVE_SECOND_FACTORS)
    },
}


def stored_codes(permissions: Iterable[str]) -> list[str]:
    """What a role with these permissions stores: with all that they need, and with former codes."""
    codes = with_needed(code for code in permissions if code not in FORMER_CODES)
    return codes + [former for former, parts in FORMER_CODES.items() if parts.issubset(codes)]


def unknown_codes(codes: Iterable[str]) -> list[str]:
    return sorted(set(codes) - set(Permission.values) - set(FORMER_CODES))


def with_needed(codes: Iterable[str]) -> list[str]:
    """The codes of these permissions and of all that they need, in the order of Permission. Unknown codes stay, at the end."""
    pending, complete = list(codes), set()
    while pending:
        code = pending.pop()
        if code not in complete:
            complete.add(code)
            pending += [needed.value for needed in Permission(code).needs] if code in Permission.values else []
    return [code for code in Permission.values if code in complete] + sorted(complete - set(Permission.values))
