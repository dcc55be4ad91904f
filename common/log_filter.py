"""What the filters of all logs share. They are in the URL, so that a narrowed log can be linked and reloaded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone

from common import time_range

# What the time range was called in the URL before.
_FORMER_NAME = "since"


class LocalTimeField(forms.DateTimeField):
    """A time in the member's zone. Of an hour that comes twice, when the clocks go back, it takes both: see `fold`."""

    def __init__(self, *, fold: int = 0, **kwargs: Any) -> None:
        super().__init__(widget=forms.DateTimeInput({"type": "datetime-local"}), **kwargs)
        self.fold = fold

    def to_python(self, value: Any) -> datetime | None:
        with timezone.override(UTC):  # the zone is applied below
            parsed = super().to_python(value)
        if parsed is None:
            return None
        zone = timezone.get_current_timezone()
        moment = parsed.replace(tzinfo=zone, fold=self.fold)
        if moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != parsed.replace(tzinfo=None):
            text = f"{parsed:%Y-%m-%d %H:%M} doesn't exist in {zone}, because the clocks go forward then. Choose another hour."
            raise ValidationError(text, code="missing_hour")
        return moment


class LocalTimeFilter(django_filters.Filter):
    field_class = LocalTimeField


class LogFilter(django_filters.FilterSet):
    """A time range, and what the pages and exports of a log ask of their filters."""

    # Shown as menus, in this order, beside the fields to type in.
    SELECTS: ClassVar[tuple[str, ...]] = ()

    range = django_filters.ChoiceFilter(choices=time_range.CHOICES, method="within", empty_label="Any time", label="Time range")
    start = LocalTimeFilter(method="unchanged", label="From")
    end = LocalTimeFilter(method="unchanged", label="To", fold=1)

    def __init__(self, data: Any, queryset: QuerySet[Any], now: datetime | None = None) -> None:
        super().__init__(_with_todays_names(data), queryset)
        self.now = now or timezone.now()

    @property
    def given_values(self) -> dict[str, str]:
        """The filters that were given, as they were typed."""
        return {name: self.data[name] for name in self.filters if self.data.get(name)}

    @property
    def select_filters(self) -> list[forms.BoundField]:
        return [self.form[name] for name in self.SELECTS]

    @property
    def range_fields(self) -> list[forms.BoundField]:
        return [self.form["start"], self.form["end"]]

    @property
    def notes(self) -> list[str]:
        """What is wrong with a value, with its field's name. The fields of a range show their own errors."""
        shown = {name: errors for name, errors in self.errors.items() if name not in ("start", "end")}
        return [f"{self.filters[name].label}: {error}" for name, errors in shown.items() for error in errors]

    def within(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        raise NotImplementedError

    def unchanged(self, queryset: QuerySet[Any], name: str, value: datetime) -> QuerySet[Any]:
        """From and to count for a custom time range alone, and there both at once."""
        return queryset

    def period(self) -> tuple[datetime | None, datetime | None]:
        """From when to when, None for no limit."""
        self.form.is_valid()  # fills cleaned_data with what is
        values = self.form.cleaned_data
        zone = timezone.get_current_timezone()
        return time_range.period(values.get("range"), values.get("start"), values.get("end"), self.now, zone)


def _with_todays_names(data: Any) -> Any:
    if not data or _FORMER_NAME not in data or "range" in data:
        return data
    data = data.copy()
    data["range"] = data[_FORMER_NAME]
    return data
