"""The guarantee of a stage: its figures, its promise in one word, and all that changed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from analytics.guarantee.changes import Entries, acts_since, changes_since
from analytics.guarantee.figures import Figures, figures_by_app, figures_of_stage, total_of
from analytics.guarantee.history import History
from analytics.guarantee.outside import emails_by
from analytics.models import CountedRule
from analytics.rollup import first_uncounted, first_uncounted_by_rule
from organization.models import App, Stage
from organization.recipient_policy.policy import RecipientPolicy
from outbox.access.visibility import LogAccess
from outbox.counts.backlog import Backlog, backlog

ENTRIES_AT_MOST = 1_000
# No email is older, and days can still be counted from here.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


class Promise(StrEnum):
    """What can be said about a stage and a period."""

    HOLDS = "holds"  # closed all the time, and nobody outside got anything
    WAS_OPEN = "was open"  # closed now. While it was open, apps could write to anyone
    OPEN = "open"  # apps can write to anyone now
    BROKEN = "broken"  # a recipient outside got email while it was closed


@dataclass(frozen=True)
class OpenSpan:
    """The recipient policy let apps write to anyone from `start` to `end`; None: until now."""

    start: datetime
    end: datetime | None


@dataclass(frozen=True)
class Guarantee:
    """Of one stage since an hour, for the apps that `access` shows.

    `counted_until`: what happened later isn't counted yet; None when all is. `by_app`: None if nobody asked for it. `open_apps`
    can write to anyone now, `closed_apps` can't, because their test lists are Active. `closing` and `closed` are the emails
    behind these two rules.
    """

    access: LogAccess
    since: datetime
    until: datetime
    counted_until: datetime | None
    policy: RecipientPolicy
    total: Figures
    by_app: Mapping[App, Figures] | None
    backlog: Backlog
    open_spans: Sequence[OpenSpan]
    open_apps: Sequence[App]
    closed_apps: Sequence[App]
    changes: Entries
    acts: Entries
    closing: Sequence[int]
    closed: Sequence[int]

    @property
    def stage(self) -> Stage:
        return self.access.stage

    @property
    def promise(self) -> Promise:
        if self.total.while_closed:
            return Promise.BROKEN
        if self.open_apps:
            return Promise.OPEN
        if self.open_spans or self.total.outside or self.total.maybe_outside:
            return Promise.WAS_OPEN
        return Promise.HOLDS


def guarantee_of(
    access: LogAccess, since: datetime, now: datetime, *, each_app: bool = False, entries_at_most: int = ENTRIES_AT_MOST
) -> Guarantee:
    """From the beginning of the hour of `since`, with so many of the newest changes and acts.

    With `each_app` it has the figures of each app, too. It takes a fixed number of queries, however many emails there are.
    """
    since = max(since, _EARLIEST).replace(minute=0, second=0, microsecond=0)
    history = History(access.stage, since)
    counted_until = _counted_until()
    total, by_app = _figures(access, since, each_app=each_app)
    open_apps = [app for app in access.apps if not app.archived and history.closed_since(app.pk, now) is None]
    return Guarantee(
        access=access,
        since=since,
        until=now,
        counted_until=counted_until,
        policy=history.policy(now),
        total=total,
        by_app=by_app,
        backlog=backlog({access.stage: access})[access.stage],
        open_spans=_open_spans(history, since, now),
        open_apps=open_apps,
        closed_apps=[app for app in access.apps if history.list_catches(app.pk, now)],
        changes=changes_since(access, since, history, entries_at_most),
        acts=acts_since(access, since, entries_at_most),
        closing=emails_by(CountedRule.CLOSING, access, since) if total.recipients[CountedRule.CLOSING] else [],
        closed=emails_by(CountedRule.CLOSED, access, since) if total.while_closed else [],
    )


def _figures(access: LogAccess, since: datetime, *, each_app: bool) -> tuple[Figures, Mapping[App, Figures] | None]:
    """The total, and those by app if they are needed for it. Otherwise a year of a large stage would be thousands of rows."""
    if access.every_app and not each_app:
        return figures_of_stage(access.stage, since), None
    apps = {app.pk: app for app in access.apps}
    by_app = {apps[number]: figures for number, figures in figures_by_app(access, since).items() if number in apps}
    return total_of(by_app.values()), by_app


def _counted_until() -> datetime | None:
    return min((first for first in (first_uncounted(), first_uncounted_by_rule()) if first), default=None)


def _open_spans(history: History, since: datetime, now: datetime) -> list[OpenSpan]:
    """When the policy was as apps ask, newest first. Two in a row, such as one with a new end, are one."""
    spans: list[OpenSpan] = []
    ends = [span.start for span in history.policies[1:]]
    for span, end in zip(history.policies, [*ends, None], strict=True):
        if span.policy != RecipientPolicy.AS_APPS_ASK or span.start > now or (end is not None and end <= since):
            continue
        start = spans.pop().start if spans and spans[-1].end == span.start else max(span.start, since)
        spans.append(OpenSpan(start, end if end is not None and end <= now else None))
    return spans[::-1]
