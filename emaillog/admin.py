"""The inboxes' marks in Django admin: read-only."""

from __future__ import annotations

from django.contrib import admin

from emaillog.models import EmptiedInbox, ReadEmails
from organization.admin_base import LogAdmin


@admin.register(EmptiedInbox)
class EmptiedInboxAdmin(LogAdmin):
    list_display = ("app", "stage", "up_to")
    list_select_related = ("app", "stage")


@admin.register(ReadEmails)
class ReadEmailsAdmin(LogAdmin):
    list_display = ("member", "app", "stage", "up_to")
    list_select_related = ("member", "app", "stage")
