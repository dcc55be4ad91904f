"""Badges that a log page shows in each row. There are a few kinds of them, and each is rendered once."""

from __future__ import annotations

from functools import cache

from django import template
from django.template.loader import render_to_string

from outbox.models import Status

register = template.Library()


@register.simple_tag
@cache
def status_badge(status: str) -> str:
    return render_to_string("emaillog/_status_badge.html", {"status": status, "label": Status(status).label})


@register.simple_tag
@cache
def route_words(route: str) -> str:
    """What became of the recipients that the app gave, where they didn't get the email themselves."""
    return render_to_string("emaillog/_route_words.html", {"route": route})


@register.filter
def shorten(text: str, length: int) -> str:
    """As truncatechars, without asking for a translation of the dots each time."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
