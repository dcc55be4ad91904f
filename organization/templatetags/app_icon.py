"""`{% app_icon app "small" %}`: an app's icon. It is decorative, because the app's name is shown beside it."""

from __future__ import annotations

from django import template
from django.utils.html import format_html

from organization.models import App

register = template.Library()


@register.simple_tag
def app_icon(app: App, size: str = "") -> str:
    """`size`: medium or small, else large."""
    sized = f" app-icon--{size}" if size else ""
    pattern = '<span class="app-icon app-icon--{}{}" aria-hidden="true">{}</span>'
    return format_html(pattern, app.colour, sized, app.initials)
