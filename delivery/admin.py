"""Delivery in Django admin: read-only."""

from __future__ import annotations

from django.contrib import admin

from delivery.models import ConnectionSlot, StageBackoff, Worker
from organization.admin_base import LogAdmin


@admin.register(StageBackoff)
class StageBackoffAdmin(LogAdmin):
    list_display = ("stage", "failures", "paused", "retry_at", "step", "code")


@admin.register(Worker)
class WorkerAdmin(LogAdmin):
    list_display = ("name", "seen")


@admin.register(ConnectionSlot)
class ConnectionSlotAdmin(LogAdmin):
    list_display = ("worker", "stage")
