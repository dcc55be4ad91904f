"""Mail in Django admin: read-only, and never with what it says."""

from __future__ import annotations

from django.contrib import admin

from organization.admin_base import LogAdmin
from outbox.models import (
    Attempt,
    Connection,
    Content,
    DailyCount,
    DailyLatency,
    Gateway,
    HourlyCause,
    HourlyCount,
    HourlyLatency,
    Message,
    Recipient,
    Refusal,
    RollUpPosition,
    StageCount,
    StageLatency,
    StageQueue,
    Worker,
)


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


@admin.register(StageQueue)
class StageQueueAdmin(LogAdmin):
    list_display = ("stage", "failures", "paused", "retry_at", "step", "code")


@admin.register(Gateway)
class GatewayAdmin(LogAdmin):
    list_display = ("name", "seen", "accepting", "warning")


@admin.register(Worker)
class WorkerAdmin(LogAdmin):
    list_display = ("name", "seen")


@admin.register(Connection)
class ConnectionAdmin(LogAdmin):
    list_display = ("worker", "stage")


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
