"""The forms of actions on a message, of the test mail and of the route simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from common.addresses import ADDRESS_MAX_LENGTH, parse_named_address, split_addresses
from common.text import validate_one_line
from organization.forms import CompleteAddresses, StageConfirmation
from organization.models import App
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message
from outbox.submission import MAX_RECIPIENTS


class TestMailForm(CompleteAddresses):
    """The app and the recipient of a test mail."""

    app = forms.ModelChoiceField(
        App.objects.without_built_in().filter(archived=False),
        empty_label=None,
        help_text="The email is routed like the app's own: while its test list is Active, to the people on that list.",
    )
    address = forms.CharField(
        label="Recipient",
        max_length=ADDRESS_MAX_LENGTH,
        widget=forms.TextInput(attrs={"autocomplete": "email", "inputmode": "email"}),
    )

    def clean_address(self) -> str:
        return parse_named_address(self.cleaned_data["address"]).email

    def clean(self) -> None:
        if "address" in self.cleaned_data:
            self.ask_about("address", [self.cleaned_data["address"]])


_REASON_LENGTH = 200
MISSING, EVERYBODY = "missing", "everybody"


class PauseForm(forms.Form):
    reason = forms.CharField(
        max_length=_REASON_LENGTH,
        validators=[validate_one_line],
        help_text="Everybody who opens a page of the stage reads it, such as “Duplicate invoices, we are looking into it”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class DiscardForm(StageConfirmation):
    """Why held emails end as failed. In a Production stage with its name."""

    reason = forms.CharField(
        max_length=_REASON_LENGTH,
        validators=[validate_one_line],
        help_text="Each email shows it, with your name.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    field_order = ("reason", "stage_name")


class TestCopyForm(forms.Form):
    """The database's name, so that a person looks at which database it is before everything in it stops sending."""

    database = forms.CharField(
        label="Name of the database",
        max_length=1000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Type the database's name to confirm."},
    )

    def __init__(self, data: Any, names: Sequence[str]) -> None:
        super().__init__(data)
        self.fields["database"].help_text = f"Type “{names[0]}” to confirm."


class SimulationForm(forms.Form):
    """The recipients of a message that is not sent, and the test list and policy to simulate."""

    to = forms.CharField(label="To", widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}), max_length=100_000)
    cc = forms.CharField(label="Cc", required=False, max_length=100_000)
    bcc = forms.CharField(label="Bcc", required=False, max_length=100_000)
    as_if = forms.ChoiceField(
        label="The test list",
        required=False,
        choices=[
            ("", "as it is now"),
            ("active", "as if it were Active"),
            ("inactive", "as if it were Inactive"),
            ("expired", "as if it had expired"),
        ],
        widget=forms.RadioSelect,
    )
    policy = forms.ChoiceField(
        label="The stage's recipient policy",
        required=False,
        choices=[("", "as it is now"), *((value, f"as if it were: {label}") for value, label in RecipientPolicy.choices)],
        widget=forms.RadioSelect,
    )

    def clean_to(self) -> list[str]:
        return self._addresses("to")

    def clean_cc(self) -> list[str]:
        return self._addresses("cc")

    def clean_bcc(self) -> list[str]:
        return self._addresses("bcc")

    def recipients(self) -> list[str]:
        """The addresses of the envelope, for a valid form."""
        return [*self.cleaned_data["to"], *self.cleaned_data["cc"], *self.cleaned_data["bcc"]]

    def clean(self) -> None:
        if not self.errors and len(self.recipients()) > MAX_RECIPIENTS:
            self.add_error("to", f"An email has at most {MAX_RECIPIENTS:,} recipients.")

    def _addresses(self, field: str) -> list[str]:
        """The addresses as people write them in mail programs: separated by commas or lines, with or without names."""
        return [parse_named_address(part).email for part in split_addresses(self.cleaned_data[field])]


class PolicyEffectForm(forms.Form):
    """Which policy, over the emails of which days."""

    policy = forms.ChoiceField(label="If the policy had been", choices=RecipientPolicy.choices, widget=forms.RadioSelect)
    since = forms.ChoiceField(
        label="Emails since", choices=[("yesterday", "Yesterday"), ("7d", "7 days ago"), ("30d", "30 days ago")]
    )


class ConfirmForm(StageConfirmation):
    """Confirms an action that changes the message itself. In a Production stage the person types the stage's name."""

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data, message.stage)


class ResendForm(forms.Form):
    """Confirms a resend, so that a second click doesn't send the message twice.

    It carries the number of the last message that repeats this one, as the page knew it; 0 for none.
    """

    known_resend = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data)
        self.fields["known_resend"].initial = message.resent_as or 0


class ResendToForm(ResendForm):
    """Also to whom: to everybody, or to those alone who didn't get it, which is the default where there is anybody like that."""

    to = forms.ChoiceField(label="Resend to", widget=forms.RadioSelect, required=False)

    def __init__(self, data: Any, message: Message, *, missed: int, everybody: int) -> None:
        super().__init__(data, message)
        choices = [(MISSING, f"Only recipients who didn't get it ({missed})"), (EVERYBODY, f"Everybody ({everybody})")]
        self.fields["to"].choices = choices if missed else choices[1:]  # type: ignore[attr-defined]
        self.fields["to"].initial = MISSING if missed else EVERYBODY
        if not missed:
            self.fields["to"].widget = forms.HiddenInput()

    def clean_to(self) -> str:
        return str(self.cleaned_data["to"] or self.fields["to"].initial)


class ReleaseForm(StageConfirmation, ResendForm):
    """Confirms a resend to real recipients: the stage's name and the last resend."""

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data, message.stage, message)
