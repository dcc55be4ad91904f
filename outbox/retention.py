"""Remove what is old enough: first a message's content, much later the message with all that is known of it.

It removes only final messages, and a few at a time, so that nothing is locked for long and several processes may prune at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from common.clock import database_now
from outbox.models import FINAL, Content, Message, Refusal

log = structlog.get_logger(__name__)

MESSAGES_AT_ONCE = 200
# A pause between two slices lets others write, also on SQLite, which allows one writer at a time.
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class PruneResult:
    """How many contents and how many messages were removed."""

    contents: int
    messages: int


def prune() -> PruneResult:
    """Remove contents after CONTENT_RETENTION_DAYS, and messages after LOG_RETENTION_DAYS.

    The days count from the time when a message became final. Refusals are removed after LOG_RETENTION_DAYS too.

    Database errors pass through; what was removed before stays removed.
    """
    now = database_now()
    pruned = PruneResult(
        contents=_remove(
            Content.objects.order_by("pk").values_list("pk", "message__created"),
            now - timedelta(days=settings.CONTENT_RETENTION_DAYS),
            lambda ids: Content.objects.filter(message__in=ids).delete(),
        ),
        messages=_remove(
            Message.objects.order_by("pk").values_list("pk", "created"),
            now - timedelta(days=settings.LOG_RETENTION_DAYS),
            lambda ids: Message.objects.filter(pk__in=ids).delete(),
        ),
    )
    Refusal.objects.filter(at__lt=now - timedelta(days=settings.LOG_RETENTION_DAYS)).delete()
    log.info("pruned", contents=pruned.contents, messages=pruned.messages)
    return pruned


def _remove(rows: QuerySet[Any, tuple[int, datetime]], before: datetime, remove: Callable[[list[int]], object]) -> int:
    """Walk through `rows`, pairs of a message's number and its acceptance, oldest first. Returns how many were removed.

    Messages are numbered as they are accepted, so the walk ends at the first slice that is too young.
    """
    removed = after = 0
    while True:
        batch = list(rows.filter(pk__gt=after)[:MESSAGES_AT_ONCE])
        if not any(created < before for _, created in batch):
            return removed
        with transaction.atomic():
            messages = _final([pk for pk, _ in batch], before)
            remove(messages)
        removed += len(messages)
        after = batch[-1][0]
        time.sleep(_PAUSE_SECONDS)


def _final(messages: list[int], before: datetime) -> list[int]:
    """The messages that were final before that time, locked. The due time of a final message is when it became final."""
    final = Message.objects.filter(pk__in=messages, status__in=FINAL, due__lt=before).order_by("pk")
    return list(final.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
