"""What a person is asked before an act on a mail."""

from __future__ import annotations

from typing import Any

from django import forms

from common.addresses import ADDRESS_MAX_LENGTH, parse_named_address, split_addresses
from organization.forms import CompleteAddresses, StageConfirmation
from organization.models import App
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message
from outbox.submission import MAX_RECIPIENTS


class TestMailForm(CompleteAddresses):
    """As which app a test mail is sent, and to whom."""

    app = forms.ModelChoiceField(
        App.objects.filter(archived=False),
        empty_label=None,
        help_text="The mail goes the way of this app's mail: while its test list is Active, to the people on that list.",
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


class SimulationForm(forms.Form):
    """A mail that nobody sends: its recipients, and whether test list and policy are as they are now or otherwise."""

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
            ("over", "as if its time were over"),
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
            self.add_error("to", f"A mail has at most {MAX_RECIPIENTS:,} recipients.")

    def _addresses(self, field: str) -> list[str]:
        """As written in mail programs: separated by commas or lines, with or without names."""
        return [parse_named_address(part).email for part in split_addresses(self.cleaned_data[field])]


class PolicyEffectForm(forms.Form):
    """Which policy, over the emails of which days."""

    policy = forms.ChoiceField(label="If the policy had been", choices=RecipientPolicy.choices, widget=forms.RadioSelect)
    since = forms.ChoiceField(
        label="Emails since", choices=[("yesterday", "Yesterday"), ("7d", "7 days ago"), ("30d", "30 days ago")]
    )


class ConfirmForm(StageConfirmation):
    """For an act that changes the mail itself: in a Production stage its name is typed."""

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data, message.stage)


class ResendForm(forms.Form):
    """The last mail that repeats this one, as the page knew it; 0 for none. A second click must not send it twice."""

    known_resend = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data)
        self.fields["known_resend"].initial = message.resent_as or 0


class ReleaseForm(StageConfirmation, ResendForm):
    """For resending past the test list: both."""

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data, message.stage, message)
