"""The inbox of an app in a stage: its captured and test mail, what each member has read of it, and how it is emptied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404

from emaillog.bounded_scan import IdRange
from emaillog.filters import MessageFilter
from emaillog.models import EmptiedInbox, ReadEmails
from organization import audit
from organization.access import Actor, Scope, require
from organization.models import App, Member, Stage
from organization.permissions import Permission
from outbox.access.visibility import LogAccess, log_access
from outbox.models import Message, RouteKind

# What a person forwarded is in the inbox already.
SHOWN_ROUTES = (RouteKind.TEST_LIST, RouteKind.ALLOWED, RouteKind.CAPTURED)
# So many single marks are kept. Beyond that the oldest emails count as read.
_MARKS_AT_MOST = 500


@dataclass(frozen=True)
class Inbox:
    """An app's inbox in a stage, as a member who may read the app's log sees it."""

    app: App
    stage: Stage
    access: LogAccess

    def emptied_up_to(self) -> int:
        marks = EmptiedInbox.objects.filter(app=self.app, stage=self.stage)
        return marks.values_list("up_to", flat=True).first() or 0


def find_inbox(member: Member, app_key: str, stage_key: str) -> Inbox:
    """A 404 when there is no such app or stage. Raises PermissionDenied to members who may not read the app's log."""
    app, stage = get_object_or_404(App, key=app_key), get_object_or_404(Stage, key=stage_key)
    return Inbox(app, stage, log_access(member, stage).of_app(app))


class InboxFilter(MessageFilter):
    """The emails of an inbox that match a search."""

    def __init__(self, data: Any, inbox: Inbox) -> None:
        super().__init__(data, inbox.access)
        self.emptied_up_to = inbox.emptied_up_to()

    def filter_queryset(self, queryset: QuerySet[Message]) -> QuerySet[Message]:
        matching: QuerySet[Message] = super().filter_queryset(queryset.filter(route__in=SHOWN_ROUTES))
        return matching

    @property
    def id_range(self) -> IdRange:
        return IdRange(above=self.emptied_up_to).within(super().id_range)


def read_emails(member: Member, inbox: Inbox) -> ReadEmails:
    """The member's marks, which aren't stored before the first email was read."""
    marks = ReadEmails.objects.filter(member=member, app=inbox.app, stage=inbox.stage).first()
    return marks or ReadEmails(member=member, app=inbox.app, stage=inbox.stage)


def mark_read(member: Member, inbox: Inbox, number: int) -> ReadEmails:
    """The member has read this email. Returns their marks as they are then."""
    if (marks := read_emails(member, inbox)).is_read(number):
        return marks
    with transaction.atomic():
        marks, _ = ReadEmails.objects.select_for_update().get_or_create(member=member, app=inbox.app, stage=inbox.stage)
        numbers = sorted({*marks.numbers, number})
        dropped = numbers[:-_MARKS_AT_MOST]
        marks.up_to, marks.numbers = max([marks.up_to, *dropped]), numbers[-_MARKS_AT_MOST:]
        marks.save(update_fields=["up_to", "numbers"])
    return marks


def empty_inbox(inbox: Inbox, up_to: int, actor: Actor) -> None:
    """Hide the emails up to this number from everybody. Raises PermissionDenied."""
    require(actor, Scope(inbox.app, inbox.stage), Permission.RESEND_MAIL)
    with transaction.atomic():
        mark, _ = EmptiedInbox.objects.select_for_update().get_or_create(app=inbox.app, stage=inbox.stage)
        before_number, mark.up_to = mark.up_to, max(mark.up_to, up_to)
        mark.save(update_fields=["up_to"])
        place = Scope(inbox.app, inbox.stage)
        before, after = {"emails_up_to": before_number}, {"emails_up_to": mark.up_to}
        audit.record(actor, audit.Operation.EMPTY_INBOX, mark, scope=place, before=before, after=after)
