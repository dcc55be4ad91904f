"""The badge that says who gets email from a stage, wherever the stage's name is shown."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from organization.models import Stage
from organization.recipient_policy.changes import policy_in_force
from organization.recipient_policy.policy import RecipientPolicy

register = template.Library()

_ICONS = {RecipientPolicy.AS_APPS_ASK: "users", RecipientPolicy.LISTED_ONLY: "shield-check", RecipientPolicy.NOBODY: "inbox"}


@register.inclusion_tag("organization/_policy_badge.html")
def policy_badge(stage: Stage, *, small: bool = False) -> dict[str, Any]:
    """Real recipients are a warning outside Production, where they are usual."""
    policy = policy_in_force(stage, timezone.now())
    colours = {RecipientPolicy.LISTED_ONLY: "badge--success", RecipientPolicy.NOBODY: "badge--info"}
    usual = "" if stage.is_production else "badge--warning"
    return {"label": policy.label, "icon": _ICONS[policy], "colour": colours.get(policy, usual), "small": small}
