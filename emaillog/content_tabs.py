"""The tabs that show an email's content, on its own page and in the inbox."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse

from emaillog.content_preview import SHOWN_AT_MOST, Preview, header_fields, preview, source_start
from outbox.models import Message


def content_gone(message: Message) -> str:
    """Why nothing is shown, in words."""
    if message.is_own:
        return "The content of the portal's own emails is never shown. It is removed when the email is finished."
    return f"The content was removed after {settings.CONTENT_RETENTION_DAYS} days."


@dataclass(frozen=True)
class _Tab:
    key: str
    label: str
    number: int | None = None  # of attachments


def content_context(message: Message, tab_key: str) -> dict[str, object]:
    """The tabs, and what the chosen one shows; the first one, when that isn't there."""
    content = preview(message)
    tabs = _tabs(content)
    shown = tab_key if tab_key in {tab.key for tab in tabs} else tabs[0].key
    place = [message.stage.key, message.pk]
    context: dict[str, object] = {
        "tabs": tabs,
        "shown": shown,
        "content": content,
        "html_url": reverse("email-log-html", args=place),
        "source_url": reverse("email-log-source", args=place),
    }
    if shown == "headers":
        context["header_fields"] = header_fields(message)
    if shown == "source":
        context["source_start"] = source_start(message)
        context["source_is_longer"] = message.size > SHOWN_AT_MOST
    return context


def _tabs(content: Preview) -> list[_Tab]:
    tabs = [_Tab("html", "HTML")] if content.html else []
    if content.text:
        tabs.append(_Tab("text", "Text"))
    if content.invitations:
        tabs.append(_Tab("invitation", "Invitation"))
    if content.attachments:
        tabs.append(_Tab("attachments", "Attachments", len(content.attachments)))
    return [*tabs, _Tab("headers", "Headers"), _Tab("source", "Source")]
