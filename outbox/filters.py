"""The email log's filters. They stand in the address, so that a filtered log can be linked and reloaded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django.utils import timezone

from organization.models import App
from outbox.models import Message, RouteKind, Status

PERIODS = {
    "1h": timedelta(hours=1),
    "12h": timedelta(hours=12),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
_PERIOD_LABELS = {
    "1h": "Last hour",
    "12h": "Last 12 hours",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
}


class MessageFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(method="search", label="Search", max_length=300)
    app = django_filters.ModelChoiceFilter(queryset=App.objects.none(), to_field_name="key", empty_label="All apps", label="App")
    status = django_filters.ChoiceFilter(choices=Status.choices, empty_label="All statuses", label="Status")
    route = django_filters.ChoiceFilter(choices=RouteKind.choices, empty_label="All routes", label="Route")
    since = django_filters.ChoiceFilter(
        choices=list(_PERIOD_LABELS.items()), method="within", empty_label="Any time", label="Time range"
    )

    class Meta:
        model = Message
        fields: tuple[str, ...] = ()

    def __init__(self, data: Any, queryset: QuerySet[Message], *, apps: list[App]) -> None:
        super().__init__(data, queryset)
        self.filters["app"].queryset = App.objects.filter(pk__in=[app.pk for app in apps])
        field = self.form.fields["q"]
        field.widget = forms.TextInput(attrs={"type": "search"})

    def search(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        """Every word must occur in the subject, an address or the Message-ID."""
        for word in value.lower().split():
            queryset = queryset.filter(search_text__contains=word)
        return queryset

    def within(self, queryset: QuerySet[Message], name: str, value: str) -> QuerySet[Message]:
        return queryset.filter(created__gte=timezone.now() - PERIODS[value])
