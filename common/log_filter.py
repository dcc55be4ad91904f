"""What the filters of all logs share. They are in the URL, so that a narrowed log can be linked and reloaded."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import django_filters
from django import forms
from django.db.models import QuerySet
from django.utils import timezone

from common import time_range


class LogFilter(django_filters.FilterSet):
    """A time range, and what the pages and exports of a log ask of their filters."""

    # Shown as menus, in this order, beside the fields to type in.
    SELECTS: ClassVar[tuple[str, ...]] = ()

    since = django_filters.ChoiceFilter(choices=time_range.CHOICES, method="within", empty_label="Any time", label="Time range")
    start = django_filters.DateTimeFilter(
        method="unchanged", label="From", widget=forms.DateTimeInput({"type": "datetime-local"})
    )
    end = django_filters.DateTimeFilter(method="unchanged", label="To", widget=forms.DateTimeInput({"type": "datetime-local"}))

    def __init__(self, data: Any, queryset: QuerySet[Any]) -> None:
        super().__init__(data, queryset)
        self.now = timezone.now()

    @property
    def given_values(self) -> dict[str, str]:
        """The filters that were given, as they were typed."""
        return {name: self.data[name] for name in self.filters if self.data.get(name)}

    @property
    def select_filters(self) -> list[forms.BoundField]:
        return [self.form[name] for name in self.SELECTS]

    @property
    def range(self) -> list[forms.BoundField]:
        return [self.form["start"], self.form["end"]]

    @property
    def notes(self) -> list[str]:
        """What is wrong with a value, with its field's name."""
        return [f"{self.filters[name].label}: {error}" for name, errors in self.errors.items() for error in errors]

    def within(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        raise NotImplementedError

    def unchanged(self, queryset: QuerySet[Any], name: str, value: datetime) -> QuerySet[Any]:
        """From and to count for a custom time range alone, and there both at once."""
        return queryset

    def period(self) -> tuple[datetime | None, datetime | None]:
        """From when to when, None for no limit."""
        self.form.is_valid()  # fills cleaned_data with what is
        values = self.form.cleaned_data
        return time_range.period(values.get("since"), values.get("start"), values.get("end"), self.now)
