"""Analytics in Django admin: read-only."""

from __future__ import annotations

from django.contrib import admin

from analytics.models import (
    DailyCount,
    DailyLatency,
    HourlyCause,
    HourlyCount,
    HourlyLatency,
    RollUpPosition,
    StageCount,
    StageLatency,
)
from organization.admin_base import LogAdmin


@admin.register(HourlyCount)
class HourlyCountAdmin(LogAdmin):
    list_display = ("hour", "stage", "app", "accepted", "to_test_list", "held", "sent", "deferred", "failed", "unknown")
    list_select_related = ("app", "stage")
    list_filter = ("stage", "app")
    ordering = ("-pk",)


@admin.register(HourlyLatency)
class HourlyLatencyAdmin(LogAdmin):
    list_display = ("hour", "stage", "app", "bucket", "sent")
    list_select_related = ("app", "stage")
    list_filter = ("stage", "app")
    ordering = ("-pk",)


@admin.register(StageCount)
class StageCountAdmin(LogAdmin):
    list_display = ("hour", "stage", "accepted", "to_test_list", "held", "sent", "deferred", "failed", "unknown")
    list_select_related = ("stage",)
    list_filter = ("stage",)
    ordering = ("-pk",)


@admin.register(StageLatency)
class StageLatencyAdmin(LogAdmin):
    list_display = ("hour", "stage", "bucket", "sent")
    list_select_related = ("stage",)
    list_filter = ("stage",)
    ordering = ("-pk",)


@admin.register(DailyCount)
class DailyCountAdmin(LogAdmin):
    list_display = ("day", "stage", "app", "accepted", "to_test_list", "sent", "deferred", "failed", "unknown")
    list_select_related = ("app", "stage")
    list_filter = ("stage", "app")
    ordering = ("-pk",)


@admin.register(DailyLatency)
class DailyLatencyAdmin(LogAdmin):
    list_display = ("day", "stage", "app", "bucket", "sent")
    list_select_related = ("app", "stage")
    list_filter = ("stage", "app")
    ordering = ("-pk",)


@admin.register(HourlyCause)
class HourlyCauseAdmin(LogAdmin):
    list_display = ("hour", "stage", "app", "code", "deferred", "failed", "unknown")
    list_select_related = ("app", "stage")
    list_filter = ("stage", "app")
    ordering = ("-pk",)


@admin.register(RollUpPosition)
class RollUpPositionAdmin(LogAdmin):
    list_display = ("counted", "last")
