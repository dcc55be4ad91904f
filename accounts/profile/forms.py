from __future__ import annotations

import zoneinfo
from typing import Any

from django import forms

from organization.forms import VersionedForm
from organization.models import Member


class ProfileForm(VersionedForm[Member]):
    time_zone = forms.ChoiceField(
        widget=forms.TextInput(attrs={"list": "time-zones", "autocomplete": "off", "spellcheck": "false"}),
        help_text="Type a part of the name, such as Lisbon.",
        error_messages={"invalid_choice": "Choose a time zone from the list, such as Europe/Lisbon."},
    )

    class Meta:
        model = Member
        fields = ("name", "theme", "time_zone")
        widgets = {"theme": forms.RadioSelect}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zones = {*_usual_zones(), self.instance.time_zone}
        field = self.fields["time_zone"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(zone, zone) for zone in sorted(zones)]


def _usual_zones() -> set[str]:
    """UTC and the zones that are named after a place, without the old names of other kinds."""
    places = ("Africa/", "America/", "Antarctica/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
    return {"UTC"} | {zone for zone in zoneinfo.available_timezones() if zone.startswith(places)}
