"""Parses SMTP settings as a person, a command or the admin enters them. Rules stand in the model."""

from __future__ import annotations

from typing import Any

from django import forms

from emailconfig.models import SmtpSettings


class SmtpSettingsForm(forms.ModelForm[SmtpSettings]):
    """`password` is write-only: empty keeps the stored one, and a bound form never renders what was typed."""

    password = forms.CharField(
        required=False,
        strip=False,
        max_length=4000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    class Meta:
        model = SmtpSettings
        fields = (
            "server",
            "port",
            "security",
            "ca_certificate",
            "authentication",
            "username",
            "sender_address",
            "sender_name",
            "from_domains",
            "connections",
            "mails_per_minute",
        )
        widgets = {
            "port": forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            "connections": forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            "mails_per_minute": forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            "server": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "username": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "security": forms.RadioSelect,
            "authentication": forms.RadioSelect,
            "from_domains": forms.Textarea(attrs={"rows": 3}),
            "ca_certificate": forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].initial = self.instance.version
        if self.instance.password:
            self.fields["password"].help_text = (
                "A password is stored. Leave this empty to keep it; it is asked for again when the server, port, "
                "security, authentication or user name changes."
            )

    def _post_clean(self) -> None:
        # Before the model's own validation, which decides whether a password is missing or must be typed again.
        self.instance.new_password = self.cleaned_data.get("password", "")
        self.instance.version = self.cleaned_data.get("version", self.instance.version)
        super()._post_clean()  # type: ignore[misc]  # Django's, unknown to its stubs
