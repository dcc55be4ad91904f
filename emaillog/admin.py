"""The inboxes' marks and the actions on many emails in Django admin: read-only."""

from __future__ import annotations

from django.contrib import admin

from emaillog.models import BulkAction, EmptiedInbox, ReadEmails
from organization.admin_base import LogAdmin


@admin.register(EmptiedInbox)
class EmptiedInboxAdmin(LogAdmin):
    list_display = ("app", "stage", "up_to")
    list_select_related = ("app", "stage")


@admin.register(ReadEmails)
class ReadEmailsAdmin(LogAdmin):
    list_display = ("member", "app", "stage", "up_to")
    list_select_related = ("member", "app", "stage")


@admin.register(BulkAction)
class BulkActionAdmin(LogAdmin):
    list_display = ("started", "act", "by", "query", "state", "done")
    list_filter = ("act", "state")
    raw_id_fields = ("member",)
