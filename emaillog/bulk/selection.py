"""Which emails an action is about: the log's query, and who looks with it."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone

from emaillog.filters import MessageFilter
from organization.access import Actor
from organization.models import Member, Stage
from outbox.access.visibility import LogAccess, WideLogAccess, wide_log_access


def access_of(actor: Actor) -> WideLogAccess:
    """A member sees what the log shows them, and an operator everything. Raises PermissionDenied."""
    if isinstance(actor, Member):
        return wide_log_access(actor)
    return WideLogAccess(tuple(LogAccess(stage, True, True) for stage in Stage.objects.all()), every_stage=True)


@contextmanager
def selected(query: str, actor: Actor, now: datetime, zone: str) -> Iterator[MessageFilter]:
    """The emails that the query matches, with its days and hours in `zone`.

    Raises ValidationError for a query that makes no sense or that leaves something out: it would match more than was meant.
    """
    with timezone.override(zoneinfo.ZoneInfo(zone)):
        data = QueryDict(query)
        log_filter = MessageFilter(data, access_of(actor), now)
        if unknown := sorted(set(data) - {*log_filter.filters, "since"}):
            raise ValidationError(f"The log has no filter “{unknown[0]}”.")
        wrong = [f"{log_filter.filters[name].label}: {' '.join(errors)}" for name, errors in log_filter.errors.items()]
        if wrong or log_filter.notes:
            raise ValidationError(wrong or log_filter.notes)
        yield log_filter


def query_of(data: QueryDict, stage: Stage | None = None, *, numbers: list[str] | None = None) -> str:
    """The log's query without what is about its page. `numbers`: of the emails that were ticked, in place of all filters."""
    if numbers is not None:
        return urlencode({"numbers": ",".join(numbers)})
    given = {name: value for name, value in data.items() if value and name in MessageFilter.base_filters}
    return urlencode({**given, **({"stage": stage.key} if stage else {})})
