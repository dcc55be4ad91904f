"""Send each reminder once, to the active members who can act on what ends."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import datetime

import structlog
from django.db import models, transaction
from django.db.models import Prefetch

from accounts.own_mail.sending import send_to_member, why_no_email
from accounts.reminders.ends import LEAD, ComingEnd, Kind, coming_ends
from common.clock import database_now
from organization.access import allowed
from organization.models import Member, RoleGrant
from outbox.exceptions import SubmissionRefused

log = structlog.get_logger(__name__)


class Reminder(models.Model):
    """An end that was noticed: of which row, when it ends, and when members were reminded of it.

    Another end of the same row is another reminder.
    """

    kind = models.CharField(max_length=20, choices=Kind)
    number = models.PositiveBigIntegerField()
    ends = models.DateTimeField()
    noticed = models.DateTimeField()
    sent = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["kind", "number", "ends"], name="reminder_once_per_end")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.number} until {self.ends}"

    @property
    def due(self) -> datetime:
        """When it is sent. For what lasts shorter than usual, that is half-way to the end."""
        return self.ends - min(LEAD[Kind(self.kind)], (self.ends - self.noticed) / 2)


def send_reminders() -> None:
    """Note new ends, and send what is due. Several processes may call it at once."""
    if why_no_email():
        return
    now = database_now()
    members: list[Member] = []
    for end in coming_ends(now):
        reminder, _ = Reminder.objects.get_or_create(kind=end.kind, number=end.number, ends=end.ends, defaults={"noticed": now})
        if reminder.sent is None and reminder.due <= now:
            members = members or _members()
            _send(reminder, end, members, now)


def forget_reminders(before: datetime) -> None:
    """Remove reminders of what ended before that time."""
    Reminder.objects.filter(ends__lt=before).delete()


def _send(reminder: Reminder, end: ComingEnd, members: Sequence[Member], now: datetime) -> None:
    """Send it, unless another process did so a moment ago."""
    with transaction.atomic():
        if not Reminder.objects.filter(pk=reminder.pk, sent=None).update(sent=now):
            return
        for member in _who_can_act(end, members):
            when = end.ends.astimezone(zoneinfo.ZoneInfo(member.time_zone))
            context: dict[str, object] = {"end": end, "when": f"{when:%A, %d %B %Y, %H:%M} ({member.time_zone})"}
            try:
                send_to_member(member, f"{end.what} ends soon", "reminder", context)
            except SubmissionRefused as refused:
                log.warning("reminder_refused", member=member.pk, reason=refused.text)


def _who_can_act(end: ComingEnd, members: Sequence[Member]) -> Iterator[Member]:
    return (member for member in members if allowed(member, end.scope, *end.permissions))


def _members() -> list[Member]:
    """The active members who have signed in or can, with their grants, in a few queries for all."""
    grants = RoleGrant.objects.select_related("role", "app").prefetch_related("role__stages", "stages")
    members = list(Member.objects.filter(is_active=True).prefetch_related(Prefetch("role_grants", grants)))
    for member in members:
        member.grants = list(member.role_grants.all())
    return [member for member in members if not member.is_invited]
