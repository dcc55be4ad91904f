"""The stage's name as a confirmation: it is typed before an act that may reach more people, or that can't be undone."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from organization.models import Stage


def check_stage_name(stage: Stage, typed: str, *, field: str | None = None) -> None:
    """Raise ValidationError, for this `field` if one is named, unless the stage's name was typed."""
    if typed != stage.name:
        message = f"This isn't the stage's name. Type “{stage.name}”."
        raise ValidationError({field: message} if field else message)
