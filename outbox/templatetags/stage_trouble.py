"""`{% stages_in_trouble as queues %}`: for pages about all stages, whose layer doesn't know of queues."""

from __future__ import annotations

from django import template

from outbox.models import StageQueue
from outbox.stage_queue import all_in_trouble

register = template.Library()


@register.simple_tag
def stages_in_trouble() -> list[StageQueue]:
    return all_in_trouble()
