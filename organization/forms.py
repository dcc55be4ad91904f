"""Parses what people enter about apps, credentials and themselves. Rules stand in the models."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django import forms

from organization.models import App, Credential, Member


class AppForm(forms.ModelForm[App]):
    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    class Meta:
        model = App
        fields = ("name", "key", "description", "colour")
        widgets = {"colour": forms.RadioSelect, "key": forms.TextInput(attrs={"spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].initial = self.instance.version
        if self.instance.pk:
            self.fields.pop("key", None)  # Django admin, which shows it read-only, has left it out already

    def _post_clean(self) -> None:
        self.instance.version = self.cleaned_data.get("version", self.instance.version)
        super()._post_clean()  # type: ignore[misc]  # Django's, unknown to its stubs


class CredentialForm(forms.ModelForm[Credential]):
    class Meta:
        model = Credential
        fields = ("name",)


class ProfileForm(forms.ModelForm[Member]):
    time_zone = forms.ChoiceField(choices=lambda: [(zone, zone) for zone in sorted(zoneinfo.available_timezones())])

    class Meta:
        model = Member
        fields = ("name", "theme", "time_zone")
        widgets = {"theme": forms.RadioSelect}
