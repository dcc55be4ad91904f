"""Gateway in Django admin: read-only."""

from __future__ import annotations

from django.contrib import admin

from gateway.models import Gateway
from organization.admin_base import LogAdmin


@admin.register(Gateway)
class GatewayAdmin(LogAdmin):
    list_display = ("name", "seen", "accepting", "warning")
