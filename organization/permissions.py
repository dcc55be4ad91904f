"""The permissions of the portal.

A permission is granted through roles (models.Role, models.RoleGrant) and checked by backends.RoleGrantBackend, so that
`member.has_perm(Permission.MANAGE_EMAIL_CONFIGURATIONS.path, scope)` works in views, templates and Django admin.
"""

from __future__ import annotations

from django.db import models


class Permission(models.TextChoices):
    """A permission; pages and the audit trail show its label."""

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
        """The name that Django's has_perm() takes: app label, dot, codename."""
        return f"organization.{self.value}"
