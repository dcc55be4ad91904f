"""When a stage was open and when closed: its policy and its test lists over time, read backwards from the audit trail.

What is stored now is the end. Each entry of the trail says what was before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime

from organization import audit
from organization.models import AuditEvent, Stage
from organization.recipient_policy.policy import RecipientPolicy
from testlists.models import TestList
from testlists.state import holds_after_end

EVER = datetime.min.replace(tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)
LIST_ENTITY = str(TestList._meta.verbose_name)


class PolicySpan(NamedTuple):
    """From `start` on this policy was in force, until the next span begins."""

    start: datetime
    policy: RecipientPolicy


class _ListSpan(NamedTuple):
    start: datetime
    catches: bool


class _ListChange(NamedTuple):
    """The columns that are read of an audit event."""

    at: datetime
    operation: str
    before: dict[str, Any]


class History:
    """Of one stage since a time."""

    def __init__(self, stage: Stage, since: datetime) -> None:
        # The stage is read before the trail: a change in between then counts as not made yet.
        stored = Stage.objects.get(pk=stage.pk)
        lists = {test_list.app_id: test_list for test_list in TestList.objects.filter(stage=stage)}
        changes = AuditEvent.objects.filter(stage=stage, at__gte=since).order_by("-at", "-pk")
        self.policies = _policy_spans(stored, changes.filter(operation=audit.Operation.CHANGE_RECIPIENT_POLICY))
        self._lists = _list_spans(lists, list_activity(changes), is_production=stored.is_production)
        self._closed: dict[int, list[tuple[datetime, bool]]] = {}

    def policy(self, moment: datetime) -> RecipientPolicy:
        span: PolicySpan = _at(self.policies, moment)
        return span.policy

    def list_catches(self, app_id: int, moment: datetime) -> bool:
        """Whether the app's list kept its email from the recipients that it gave."""
        spans = self._lists.get(app_id)
        return bool(spans and _at(spans, moment).catches)

    def closed_since(self, app_id: int, moment: datetime) -> datetime | None:
        """Since when the app couldn't write to anyone at that moment; None when it could."""
        spans = self._closed.get(app_id) or self._closed.setdefault(app_id, self._closed_spans(app_id))
        start, is_closed = spans[bisect_right(spans, moment, key=lambda span: span[0]) - 1]
        return start if is_closed else None

    def _closed_spans(self, app_id: int) -> list[tuple[datetime, bool]]:
        """Where closed and open begin, each once."""
        starts = {span.start for span in (*self.policies, *self._lists.get(app_id, ()))}
        spans: list[tuple[datetime, bool]] = []
        for start in sorted(starts):
            is_closed = self.policy(start) != RecipientPolicy.AS_APPS_ASK or self.list_catches(app_id, start)
            if not spans or spans[-1][1] != is_closed:
                spans.append((start, is_closed))
        return spans


def _at(spans: Sequence[Any], moment: datetime) -> Any:
    return spans[bisect_right(spans, moment, key=lambda span: span.start) - 1]


def _policy_spans(stage: Stage, changes: QuerySet[AuditEvent]) -> list[PolicySpan]:
    """Oldest first. The first one began some time ago."""
    state: dict[str, Any] = {
        "recipient_policy": stage.recipient_policy,
        "policy_until": stage.policy_until,
        "policy_afterwards": stage.policy_afterwards,
    }
    spans: list[PolicySpan] = []
    end = _NEVER
    for at, before in changes.values_list("at", "before"):
        spans[:0] = _spans_of_policy(state, at, end)
        state, end = _before(state, before), at
    return _spans_of_policy(state, EVER, end) + spans


def _spans_of_policy(state: dict[str, Any], start: datetime, end: datetime) -> list[PolicySpan]:
    """One, or two where its end came before the next change."""
    until = _moment(state["policy_until"])
    policy = RecipientPolicy(state["recipient_policy"])
    if until is None or until >= end:
        return [PolicySpan(start, policy)]
    afterwards = RecipientPolicy(state["policy_afterwards"])
    return [PolicySpan(start, policy), PolicySpan(until, afterwards)] if start < until else [PolicySpan(start, afterwards)]


def list_activity(changes: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
    """Those that say when a test list was Active. They have an index, whose condition is this one."""
    about_time = Q(operation=audit.Operation.CREATE) | Q(before__has_any_keys=["active", "active_until"])
    return changes.filter(about_time, entity=LIST_ENTITY)


def _list_spans(lists: dict[int, TestList], changes: QuerySet[AuditEvent], *, is_production: bool) -> dict[int, list[_ListSpan]]:
    by_app: defaultdict[int, list[_ListChange]] = defaultdict(list)
    for app_id, *change in changes.exclude(app=None).values_list("app_id", *_ListChange._fields):
        by_app[app_id].append(_ListChange(*change))
    return {
        app_id: _spans_of_one_list(test_list, by_app[app_id], is_production=is_production) for app_id, test_list in lists.items()
    }


def _spans_of_one_list(test_list: TestList, changes: Sequence[_ListChange], *, is_production: bool) -> list[_ListSpan]:
    state: dict[str, Any] = {"active": test_list.active, "active_until": test_list.active_until}
    spans: list[_ListSpan] = []
    end = _NEVER
    for event in changes:
        spans[:0] = _spans_of_list(state, event.at, end, is_production=is_production)
        if event.operation == audit.Operation.CREATE:  # it was lost before, and its app's email was held
            state = {"active": True, "active_until": None}
        else:
            state = _before(state, event.before)
        end = event.at
    return _spans_of_list(state, EVER, end, is_production=is_production) + spans


def _spans_of_list(state: dict[str, Any], start: datetime, end: datetime, *, is_production: bool) -> list[_ListSpan]:
    """An expired list still holds its app's email, where the recipients that apps give would be next."""
    until = _moment(state["active_until"])
    spans = [_ListSpan(start, bool(state["active"]))]
    if state["active"] and until is not None and until < end:
        holds = holds_after_end(RecipientPolicy.AS_APPS_ASK, is_production=is_production)
        spans.append(_ListSpan(max(until, start), holds))
    return spans


def _before(state: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    return {name: before.get(name, value) for name, value in state.items()}


def _moment(value: datetime | str | None) -> datetime | None:
    return parse_datetime(value) if isinstance(value, str) else value
