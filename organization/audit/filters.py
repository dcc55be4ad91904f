"""The filters of the audit trail.

They are in the URL, so that a filtered trail can be linked and reloaded.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict
from django.utils import timezone

from common import time_range
from organization.models import App, AuditEvent, Member, Stage

_LOOKED_AT = 10_000
# An entry has the time of its action, but gets its id when it is written. No action takes longer than this.
_SLACK = timedelta(minutes=5)


def recent_values(field: str) -> list[str]:
    """The values of `field` in the newest entries.

    To find the values of all entries, the whole table would have to be read.
    """
    return sorted(set(AuditEvent.objects.order_by("-pk").values_list(field, flat=True)[:_LOOKED_AT]))


class AuditFilter(forms.Form):
    """The filters in the URL.

    Each filter has its own index, so that no page reads the whole trail.
    """

    member = forms.CharField(required=False, max_length=254, label="Whole address of the member")
    app = forms.ModelChoiceField(App.objects.all(), required=False, to_field_name="key", empty_label="All apps", label="App")
    stage = forms.ModelChoiceField(
        Stage.objects.all(), required=False, to_field_name="key", empty_label="All stages", label="Stage"
    )
    operation = forms.CharField(required=False, max_length=60, label="Operation", widget=forms.Select)
    since = forms.ChoiceField(required=False, choices=[("", "Any time"), *time_range.CHOICES], label="Time range")
    start = forms.DateTimeField(required=False, label="From")
    end = forms.DateTimeField(required=False, label="To")

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        operations = sorted({*recent_values("operation"), data.get("operation", "")} - {""})
        menu = self.fields["operation"].widget
        menu.choices = [("", "All operations"), *((one, one) for one in operations)]

    @property
    def asked(self) -> dict[str, str]:
        """The filters that are set, as they were typed."""
        return {name: self.data[name] for name in self.fields if self.data.get(name)}

    @property
    def pills(self) -> list[forms.BoundField]:
        return [self[name] for name in ("operation", "app", "stage", "since")]

    @property
    def range(self) -> list[forms.BoundField]:
        return [self["start"], self["end"]]

    def events(self) -> QuerySet[AuditEvent]:
        """The matching events, newest first; none if a filter is invalid."""
        events = AuditEvent.objects.select_related("app", "stage").order_by("-pk")
        if not self.is_valid():
            return events.none()
        wanted = self.cleaned_data
        if wanted["member"]:
            events = events.filter(actor__in=Member.objects.filter(email__iexact=wanted["member"]))
        equal = {name: wanted[name] for name in ("app", "stage", "operation") if wanted[name]}
        start, end = time_range.period(wanted["since"], wanted["start"], wanted["end"], timezone.now())
        return _within(events.filter(**equal), start, end)


def _within(events: QuerySet[AuditEvent], start: datetime | None, end: datetime | None) -> QuerySet[AuditEvent]:
    """Filter by time, and by the ids between which that time lies.

    A search in the order of ids can then end early.
    """
    by_time = AuditEvent.objects.order_by("at", "pk").values_list("pk", flat=True)
    if start is not None:
        earlier = by_time.filter(at__lt=start - _SLACK).last()
        events = events.filter(at__gte=start, pk__gt=earlier or 0)
    if end is not None:
        later = by_time.filter(at__gt=end + _SLACK).first()
        events = events.filter(at__lte=end) if later is None else events.filter(at__lte=end, pk__lt=later)
    return events
