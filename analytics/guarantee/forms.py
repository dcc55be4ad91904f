"""What the guarantee's page asks for: the period, and the app of a proof."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any, NamedTuple

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from organization.models import App


class Range(NamedTuple):
    key: str
    label: str
    days: int | None  # None: as long as the log is kept


RANGES = (Range("24h", "24 hours", 1), Range("7d", "7 days", 7), Range("30d", "30 days", 30), Range("all", "Everything", None))
DEFAULT = "30d"


class PeriodForm(forms.Form):
    """A range that ends now, or the day on which the period begins. Without either it is 30 days."""

    range = forms.ChoiceField(choices=[(choice.key, choice.label) for choice in RANGES], required=False)
    since = forms.DateField(
        label="Since", required=False, widget=forms.DateInput({"type": "date"}), error_messages={"invalid": "Enter a day."}
    )

    def clean_since(self) -> Any:
        since = self.cleaned_data["since"]
        if since is not None and since > timezone.localdate():
            raise ValidationError("This day is in the future.")
        return since

    def begin(self, now: datetime) -> datetime:
        """What was chosen; after an error, as without a choice."""
        values = self.cleaned_data if self.is_valid() else {}
        if day := values.get("since"):
            return max(timezone.make_aware(datetime.combine(day, time.min)), _oldest(now))
        days = next(choice.days for choice in RANGES if choice.key == (values.get("range") or DEFAULT))
        return _oldest(now) if days is None else now - timedelta(days=days)

    @property
    def chosen(self) -> str:
        """The key of the range in force; empty where a day was chosen."""
        values = self.cleaned_data if self.is_valid() else {}
        return "" if values.get("since") else values.get("range") or DEFAULT

    @property
    def query(self) -> str:
        values = self.cleaned_data if self.is_valid() else {}
        return f"since={values['since']:%Y-%m-%d}" if values.get("since") else f"range={self.chosen}"


def _oldest(now: datetime) -> datetime:
    return now - timedelta(days=settings.LOG_RETENTION_DAYS)


class ProofForm(forms.Form):
    """The app whose email is sent to an impossible address."""

    app = forms.TypedChoiceField(error_messages={"invalid_choice": "Select an app from the list."})

    def __init__(self, data: Any, apps: list[App]) -> None:
        super().__init__(data)
        field, by_key = self.fields["app"], {app.key: app for app in apps}
        assert isinstance(field, forms.TypedChoiceField)
        field.choices = [(key, str(app)) for key, app in by_key.items()]
        field.coerce = by_key.__getitem__
