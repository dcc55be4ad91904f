"""The text that the email log searches: one per message, in lower case, with a line for each value.

A recipient's line starts with a tab. No other line can contain one, so a search for recipients finds recipients alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q

_RECIPIENT = "\t"


def search_text(subject: str, sender: str, recipients: Iterable[str], message_id: str) -> str:
    """The text of a new message. `recipients`: those that the app gave, and those that the message goes to."""
    return _lines([subject, sender, *_recipient_lines(recipients), message_id])


def with_recipients(text: str, recipients: Iterable[str]) -> str:
    """The text of a message that goes to further recipients."""
    return _lines([*text.split("\n"), *_recipient_lines(recipients)])


def matches(words: str) -> Q:
    """The messages in which every word occurs: in the subject, an address or the Message-ID."""
    return _every(Q(search_text__contains=word) for word in words.lower().split())


def matches_without_addresses(words: str) -> Q:
    """The messages in which every word occurs, in the subject or the Message-ID."""
    return _every(Q(subject__icontains=word) | Q(message_id__icontains=word) for word in words.split())


def has_recipient(start: str) -> Q:
    """The messages with a recipient whose address starts with `start`: one that the app gave, or one that they were routed to."""
    return Q(search_text__contains=_RECIPIENT + start.lower())


def _recipient_lines(recipients: Iterable[str]) -> list[str]:
    return [_RECIPIENT + address for address in recipients]


def _lines(parts: Iterable[str]) -> str:
    """The parts in lower case, each once."""
    return "\n".join(dict.fromkeys(part.lower() for part in parts if part))


def _every(conditions: Iterable[Q]) -> Q:
    combined = Q()
    for condition in conditions:
        combined &= condition
    return combined
