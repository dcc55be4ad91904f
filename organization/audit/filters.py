"""The audit trail's filters."""

from __future__ import annotations

from datetime import datetime, timedelta

import django_filters
from django import forms
from django.db.models import Max, QuerySet
from django.http import QueryDict

from common.log_filter import LogFilter
from organization.models import AuditEvent, Member, Stage
from organization.web.app_search import apps_called

_LOOKED_AT = 10_000
_SEARCHED = 100_000
# The menus whose choices are the values of the newest events, with what each says while nothing is chosen.
_MENUS = {"member": "All members", "operation": "All operations", "entity": "All entity types"}
# An entry has the time of its action, but gets its id when it is written. No action takes longer than this.
_SLACK = timedelta(minutes=5)


def recent_values(field: str) -> list[str]:
    """The values of `field` in the newest entries.

    To find the values of all entries, the whole table would have to be read.
    """
    return sorted(set(AuditEvent.objects.order_by("-pk").values_list(field, flat=True)[:_LOOKED_AT]))


class AuditFilter(LogFilter):
    """What the URL asks for. Each narrows by an index of its own, so that no page reads the whole trail."""

    SELECTS = ("member", "operation", "entity", "status", "stage", "range")

    words = django_filters.CharFilter(method="named", max_length=100, label="Words in a name")
    member = django_filters.CharFilter(method="done_by", max_length=360, label="Member")
    operation = django_filters.CharFilter(max_length=60, label="Operation")
    entity = django_filters.CharFilter(max_length=60, label="Entity type")
    status = django_filters.ChoiceFilter(choices=AuditEvent.Status, empty_label="Any status", label="Status")
    app = django_filters.CharFilter(method="of_apps", label="App", max_length=100)
    stage = django_filters.ModelChoiceFilter(
        queryset=Stage.objects.all(), to_field_name="key", empty_label="All stages", label="Stage"
    )

    class Meta:
        model = AuditEvent
        fields: tuple[str, ...] = ()

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data, AuditEvent.objects.select_related("app", "stage").order_by("-pk"))
        newest = AuditEvent.objects.order_by("-pk").values_list("actor_name", "operation", "entity")[:_LOOKED_AT]
        values = zip(*set(newest), strict=True) if newest else ((), (), ())
        for name, empty_label, offered in zip(_MENUS, _MENUS.values(), values, strict=True):
            chosen = sorted({*offered, data.get(name, "")} - {""})
            choices = [("", empty_label), *((value, value) for value in chosen)]
            self.filters[name].extra["widget"] = forms.Select(choices=choices)

    def events(self) -> QuerySet[AuditEvent]:
        """What matches, newest first. A filter that makes no sense matches nothing."""
        events: QuerySet[AuditEvent] = self.queryset.none() if self.errors else self.qs
        return events

    def named(self, events: QuerySet[AuditEvent], name: str, value: str) -> QuerySet[AuditEvent]:
        """Filter by a part of the entity's name, among the newest events: there is no index for it."""
        newest = AuditEvent.objects.aggregate(newest=Max("pk"))["newest"] or 0
        return events.filter(entity_name__icontains=value, pk__gt=newest - _SEARCHED)

    def of_apps(self, events: QuerySet[AuditEvent], name: str, value: str) -> QuerySet[AuditEvent]:
        return events.filter(app__in=apps_called(value))

    def done_by(self, events: QuerySet[AuditEvent], name: str, value: str) -> QuerySet[AuditEvent]:
        """Filter by the name that the menu offers, or by an address alone, as other pages link it."""
        if "<" in value or "@" not in value:
            return events.filter(actor_name=value)
        return events.filter(actor__in=Member.objects.filter(email__iexact=value))

    def within(self, events: QuerySet[AuditEvent], name: str, value: str) -> QuerySet[AuditEvent]:
        return _within(events, *self.period())


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
