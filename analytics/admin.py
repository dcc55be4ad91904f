"""Analytics in Django admin: read-only."""

from __future__ import annotations

from django.contrib import admin

from analytics.models import (
    DailyCount,
    DailyLatency,
    DailyRuleCount,
    HourlyCause,
    HourlyCount,
    HourlyLatency,
    HourlyRuleCount,
    RollUpPosition,
    StageCount,
    StageLatency,
    StageRuleCount,
)
from organization.admin_base import LogAdmin

_TRIES = ("deferred", "failed", "unknown")
_COLUMNS = {
    HourlyCount: ("hour", "stage", "app", "accepted", "to_test_list", "captured", "allowed", "held", "sent", *_TRIES),
    HourlyLatency: ("hour", "stage", "app", "bucket", "sent"),
    HourlyCause: ("hour", "stage", "app", "code", *_TRIES),
    StageCount: ("hour", "stage", "accepted", "to_test_list", "captured", "allowed", "held", "sent", *_TRIES),
    StageLatency: ("hour", "stage", "bucket", "sent"),
    DailyCount: ("day", "stage", "app", "accepted", "to_test_list", "captured", "allowed", "sent", *_TRIES),
    DailyLatency: ("day", "stage", "app", "bucket", "sent"),
    HourlyRuleCount: ("hour", "stage", "app", "rule", "recipients", "unknown"),
    StageRuleCount: ("hour", "stage", "rule", "recipients", "unknown"),
    DailyRuleCount: ("day", "stage", "app", "rule", "recipients", "unknown"),
}

for model, columns in _COLUMNS.items():
    place = tuple(name for name in ("stage", "app") if name in columns)
    admin.site.register(model, LogAdmin, list_display=columns, list_select_related=place, list_filter=place, ordering=("-pk",))


@admin.register(RollUpPosition)
class RollUpPositionAdmin(LogAdmin):
    list_display = ("counted", "last")
