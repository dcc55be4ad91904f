"""Messages in Django admin: read-only, and never with their content."""

from __future__ import annotations

from django.contrib import admin

from organization.admin_base import LogAdmin, ReadOnlyAdmin
from organization.permissions import Permission
from outbox.models import Attempt, Content, HandOverCapture, HeldAnswer, Message, Pause, Recipient, Refusal


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


@admin.register(HandOverCapture)
class HandOverCaptureAdmin(LogAdmin):
    list_display = ("created", "message_id", "address")
    raw_id_fields = ("message",)
    ordering = ("-pk",)


@admin.register(Pause)
class PauseAdmin(ReadOnlyAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    list_display = ("stage", "app", "since", "by", "reason")
    list_select_related = ("stage", "app")


@admin.register(HeldAnswer)
class HeldAnswerAdmin(ReadOnlyAdmin):
    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    list_display = ("stage", "app", "choice", "words", "until")
    list_select_related = ("stage", "app")
