"""Parse SMTP settings that are entered on a page, in a command or in Django admin.

The rules are in the model.
"""

from __future__ import annotations

from typing import Any

from django import forms

from common.addresses import ADDRESS_MAX_LENGTH, parse_named_address
from emailconfig.models import SmtpSettings, secret_field_of
from organization.forms import CompleteAddresses, StageConfirmation

# SmtpSettings.destination in words, for help texts.
_BOUND_TO = {
    "password": "the server, port, security, own CA certificate, authentication or username",
    "client_secret": "the server, port, security, own CA certificate, authentication, token URL, client ID, scopes, how the "
    "secret is sent, or the mailbox (the username, or the sender address if that is empty)",
}


def _secret_field() -> forms.CharField:
    return forms.CharField(
        required=False,
        strip=False,
        max_length=4000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class SmtpSettingsForm(forms.ModelForm[SmtpSettings]):
    """The SMTP settings of a stage.

    `password` and `client_secret` are write-only: an empty value keeps the stored secret. A bound form never renders what was
    typed.
    """

    password = _secret_field()
    client_secret = _secret_field()
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
            "token_url",
            "client_id",
            "scopes",
            "client_authentication",
            "secret_ends",
            "sender_address",
            "sender_name",
            "from_domains",
            "connections",
            "mails_per_minute",
            "recipients_per_transaction",
            "ehlo_name",
        )
        widgets = {
            "port": forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            "connections": forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            "mails_per_minute": forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            "recipients_per_transaction": forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
            "ehlo_name": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "server": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "username": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "token_url": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"}),
            "client_id": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "secret_ends": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            "scopes": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "security": forms.RadioSelect,
            "authentication": forms.RadioSelect,
            "from_domains": forms.Textarea(attrs={"rows": 3}),
            "ca_certificate": forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].initial = self.instance.version
        self._mark_what_the_authentication_needs()
        if "client_authentication" in self.fields:  # Django admin leaves out fields that the member may only read
            self.fields["client_authentication"].required = self.fields["recipients_per_transaction"].required = False
        if self.instance.secret and self.instance.secret_field in self.fields:
            stored = self.instance.secret_field
            self.fields[stored].help_text = (
                f"A {stored.replace('_', ' ')} is stored. Leave this empty to keep it. You must enter it again if you change "
                f"{_BOUND_TO[stored]}."
            )

    def _mark_what_the_authentication_needs(self) -> None:
        """Mark the fields that the chosen authentication requires.

        The model requires them only for that authentication, so the form can't mark them as required for all.
        """
        stored = self.instance.secret_field if self.instance.secret else ""
        for name in {"token_url", "client_id", "client_secret", "password"} - {stored}:
            if name in self.fields:
                self.fields[name].needed = True  # type: ignore[attr-defined]

    def clean_recipients_per_transaction(self) -> int:
        number: int | None = self.cleaned_data["recipients_per_transaction"]
        return SmtpSettings._meta.get_field("recipients_per_transaction").default if number is None else number

    def clean_client_authentication(self) -> str:
        return self.cleaned_data["client_authentication"] or SmtpSettings.ClientAuthentication.POST

    def _post_clean(self) -> None:
        # Set before the model's validation, which decides whether a secret is missing or must be entered again.
        field = secret_field_of(self.cleaned_data.get("authentication", ""))
        self.instance.new_secret = self.cleaned_data.get(field, "")
        self.instance.version = self.cleaned_data.get("version", self.instance.version)
        super()._post_clean()  # type: ignore[misc]  # Django's, unknown to its stubs


class SmtpSettingsPageForm(CompleteAddresses, SmtpSettingsForm):
    """The form on pages, which asks to confirm a sender's domain without a dot.

    A command or a connection test can't ask.
    """

    def clean(self) -> None:
        super().clean()
        if "sender_address" in self.changed_data and "sender_address" in self.cleaned_data:
            self.ask_about("sender_address", [self.cleaned_data["sender_address"]])


class RecipientForm(forms.Form):
    """The recipient that a connection test asks the server about; none if empty."""

    recipient = forms.CharField(
        label="Test recipient",
        required=False,
        max_length=ADDRESS_MAX_LENGTH,
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "email"}),
        help_text="If you enter one, the test also asks whether the server accepts email for this address. No email is sent.",
    )

    def clean_recipient(self) -> str:
        address: str = self.cleaned_data["recipient"]
        return parse_named_address(address).email if address else ""


class DeleteForm(StageConfirmation):
    """The confirmation before settings are deleted, with the version on the page."""

    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    def __init__(self, data: Any, settings: SmtpSettings) -> None:
        super().__init__(data, settings.stage)
        self.fields["version"].initial = settings.version
