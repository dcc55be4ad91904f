from __future__ import annotations

from django import forms

from common.addresses import ADDRESS_MAX_LENGTH, validate_address


class ResetForm(forms.Form):
    email = forms.CharField(
        max_length=ADDRESS_MAX_LENGTH,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )

    def clean_email(self) -> str:
        return validate_address(self.cleaned_data["email"])
