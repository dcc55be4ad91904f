"""SMTP settings in Django admin: the portal's own form and service."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from emailconfig.forms import SmtpSettingsForm
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings
from organization.admin_base import PortalAdmin, member_of
from organization.permissions import Permission


class SmtpSettingsAdminForm(SmtpSettingsForm):
    class Meta(SmtpSettingsForm.Meta):
        fields = ("stage", *SmtpSettingsForm.Meta.fields)  # type: ignore[assignment]


@admin.register(SmtpSettings)
class SmtpSettingsAdmin(PortalAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    form = SmtpSettingsAdminForm
    fields = (
        "stage",
        *("server", "port", "security", "ca_certificate"),
        *("authentication", "username", "password"),
        *("sender_address", "sender_name", "from_domains", "connections", "mails_per_minute", "version"),
    )
    exclude = ("password", "version")  # the model's own, which can't be edited: the form has fields of these names
    list_display = ("stage", "server", "port", "security", "authentication", "sender_address", "updated")
    list_select_related = ("stage",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("stage",) if obj else ()

    def save_model(self, request: HttpRequest, obj: SmtpSettings, form: Any, change: bool) -> None:
        save_smtp_settings(obj, member_of(request))
