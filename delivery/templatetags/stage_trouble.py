"""`{% stages_in_trouble as queues %}`: for pages about all stages, whose layer doesn't know of queues."""

from __future__ import annotations

from django import template

from delivery.backoff import all_in_trouble
from delivery.models import StageQueue

register = template.Library()


@register.simple_tag
def stages_in_trouble() -> list[StageQueue]:
    return all_in_trouble()
