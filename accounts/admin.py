"""Second factors in Django admin: to look at only. They are removed on the member's page."""

from __future__ import annotations

from django.contrib import admin

from accounts.models import AuthenticatorApp, Passkey, RecoveryCode
from organization.admin_base import ReadOnlyAdmin
from organization.permissions import Permission


class FactorAdmin(ReadOnlyAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    list_select_related = ("member",)


@admin.register(AuthenticatorApp)
class AuthenticatorAppAdmin(FactorAdmin):
    list_display = ("member", "created", "last_used")
    exclude = ("secret", "last_step")


@admin.register(Passkey)
class PasskeyAdmin(FactorAdmin):
    list_display = ("member", "label", "created", "last_used")
    exclude = ("credential",)


@admin.register(RecoveryCode)
class RecoveryCodeAdmin(FactorAdmin):
    list_display = ("member", "created", "used")
    exclude = ("secret_hash",)
