"""The badge that says who gets email from a stage, wherever the stage's name is shown."""

from __future__ import annotations

from functools import cache

from django import template
from django.template.loader import render_to_string
from django.utils import timezone

from organization.models import Stage
from organization.recipient_policy.changes import policy_in_force
from organization.recipient_policy.policy import RecipientPolicy

register = template.Library()

_ICONS = {RecipientPolicy.AS_APPS_ASK: "users", RecipientPolicy.LISTED_ONLY: "shield-check", RecipientPolicy.NOBODY: "inbox"}


@register.simple_tag
def policy_badge(stage: Stage, *, small: bool = False) -> str:
    """Real recipients are a warning outside Production, where they are usual."""
    return _badge(policy_in_force(stage, timezone.now()), is_production=stage.is_production, small=small)


@cache  # a badge of each kind
def _badge(policy: RecipientPolicy, *, is_production: bool, small: bool) -> str:
    colours = {RecipientPolicy.LISTED_ONLY: "badge--success", RecipientPolicy.NOBODY: "badge--info"}
    colour = colours.get(policy, "" if is_production else "badge--warning")
    context = {"label": policy.label, "icon": _ICONS[policy], "colour": colour, "small": small}
    return render_to_string("organization/_policy_badge.html", context)
