"""What the email log's search looks through: one text per mail, in lower case, with a line for each thing it says.

A recipient's line starts with a tab. No other line can contain one, so a search for recipients finds recipients alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q

_RECIPIENT = "\t"


def search_text(subject: str, sender: str, recipients: Iterable[str], message_id: str) -> str:
    """The text of a new mail. `recipients`: whom the app asked for, and whom the mail goes to."""
    return _lines([subject, sender, *_recipient_lines(recipients), message_id])


def with_recipients(text: str, recipients: Iterable[str]) -> str:
    """The text of a mail that goes to others as well."""
    return _lines([*text.split("\n"), *_recipient_lines(recipients)])


def matches(words: str) -> Q:
    """Mail in which every word occurs: in the subject, an address or the Message-ID."""
    return _every(Q(search_text__contains=word) for word in words.lower().split())


def matches_without_addresses(words: str) -> Q:
    """Mail in which every word occurs, in the subject or the Message-ID."""
    return _every(Q(subject__icontains=word) | Q(message_id__icontains=word) for word in words.split())


def has_recipient(start: str) -> Q:
    """Mail with a recipient whose address starts like this: asked for by the app, or routed to."""
    return Q(search_text__contains=_RECIPIENT + start.lower())


def _recipient_lines(recipients: Iterable[str]) -> list[str]:
    return [_RECIPIENT + address for address in recipients]


def _lines(parts: Iterable[str]) -> str:
    """Everything once."""
    return "\n".join(dict.fromkeys(part.lower() for part in parts if part))


def _every(conditions: Iterable[Q]) -> Q:
    combined = Q()
    for condition in conditions:
        combined &= condition
    return combined
