"""Messages in Django admin: read-only, and never with their content."""

from __future__ import annotations

from django.contrib import admin

from organization.admin_base import LogAdmin
from outbox.models import Attempt, Content, Message, Recipient, Refusal


@admin.register(Message)
class MessageAdmin(LogAdmin):
    list_display = ("id", "created", "app", "stage", "subject", "status", "route")
    list_select_related = ("app", "stage")
    list_filter = ("status", "route", "stage", "app")
    exclude = ("search_text",)
    ordering = ("-pk",)


@admin.register(Content)
class ContentAdmin(LogAdmin):
    exclude = ("data",)  # the email log shows it, to those who may see it


@admin.register(Recipient)
class RecipientAdmin(LogAdmin):
    list_display = ("address", "message_id", "status", "tries", "last_reply")
    list_filter = ("status",)
    raw_id_fields = ("message",)


@admin.register(Refusal)
class RefusalAdmin(LogAdmin):
    list_display = ("at", "app", "stage", "credential", "step", "address", "reply")
    list_select_related = ("app", "stage", "credential")
    ordering = ("-pk",)


@admin.register(Attempt)
class AttemptAdmin(LogAdmin):
    list_display = ("created", "message_id", "address", "outcome", "code", "reply")
    list_filter = ("outcome",)
    raw_id_fields = ("message",)
