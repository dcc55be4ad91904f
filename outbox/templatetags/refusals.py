"""`{% newest_refusals app stage as refusals %}`: for the app's page, whose layer doesn't know of refused emails."""

from __future__ import annotations

from typing import Any

from django import template

from organization.models import App, Stage
from outbox import refusals

register = template.Library()


@register.simple_tag(takes_context=True)
def newest_refusals(context: dict[str, Any], app: App, stage: Stage) -> list[refusals.ShownRefusal] | None:
    """None for members who may not see them."""
    return refusals.newest_refusals(context["request"].user, app, stage)
