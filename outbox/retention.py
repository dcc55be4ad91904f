"""Removing what is old enough: first what a mail says, much later the mail with all that is known of it.

Only final mail, and a few mails at a time, so that nothing is locked for long and many may prune at once.
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
# Between two slices others get their turn, also on SQLite, where whoever writes is alone.
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class PruneResult:
    """How much was removed: what so many mails say, and so many mails."""

    contents: int
    messages: int


def prune() -> PruneResult:
    """Remove the content of mail that has been final for CONTENT_RETENTION_DAYS, and mail that has been for LOG_RETENTION_DAYS.

    Refused mail goes after LOG_RETENTION_DAYS too.

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
    """Walk through `rows`, pairs of a mail's number and its acceptance, oldest first. Mail is numbered as it is accepted, so
    that the walk ends at the first slice that is too young."""
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
    """Those that were final before that time, locked. Final mail was due for the last time when it became so."""
    final = Message.objects.filter(pk__in=messages, status__in=FINAL, due__lt=before).order_by("pk")
    return list(final.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True))
