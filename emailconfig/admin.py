"""SMTP settings in Django admin, with the portal's own form and service."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from emailconfig.forms import SmtpSettingsPageForm
from emailconfig.models import ConnectionTest, DeletedSettings, LastTest, OAuthToken, SmtpSettings
from emailconfig.services import held_mail_in_words, save_smtp_settings
from organization.admin_base import PlaceAdmin, ReadOnlyAdmin, member_of
from organization.permissions import Permission


class SmtpSettingsAdminForm(SmtpSettingsPageForm):
    class Meta(SmtpSettingsPageForm.Meta):
        fields = ("stage", *SmtpSettingsPageForm.Meta.fields)  # type: ignore[assignment]


@admin.register(SmtpSettings)
class SmtpSettingsAdmin(PlaceAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    form = SmtpSettingsAdminForm
    fields = (
        "stage",
        *("server", "port", "security", "ca_certificate"),
        *("authentication", "username", "password"),
        *("token_url", "client_id", "client_secret", "secret_ends", "scopes", "client_authentication"),
        *("sender_address", "complete", "sender_name", "from_domains", "connections", "mails_per_minute"),
        *("recipients_per_transaction", "ehlo_name", "version"),
    )
    exclude = ("version",)  # the model's field, which can't be edited; the form has its own field of this name
    list_display = ("stage", "server", "port", "security", "authentication", "sender_address", "updated")
    list_select_related = ("stage",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("stage",) if obj else ()

    def save_model(self, request: HttpRequest, obj: SmtpSettings, form: Any, change: bool) -> None:
        save_smtp_settings(obj, member_of(request))
        if held := held_mail_in_words(obj.stage):
            messages.warning(request, held)


@admin.register(DeletedSettings)
class DeletedSettingsAdmin(ReadOnlyAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    list_display = ("stage", "version")
    list_select_related = ("stage",)


@admin.register(OAuthToken)
class OAuthTokenAdmin(ReadOnlyAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    list_display = ("settings", "version", "renew_at", "expires", "refusal_code")
    list_select_related = ("settings",)
    exclude = ("token",)


@admin.register(ConnectionTest)
class ConnectionTestAdmin(ReadOnlyAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    list_display = ("started", "stage", "server", "member", "finished")
    list_select_related = ("stage", "member")


@admin.register(LastTest)
class LastTestAdmin(ReadOnlyAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    list_display = ("at", "stage", "server", "succeeded")
    list_select_related = ("stage",)
