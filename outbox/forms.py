"""What a person is asked before an act on a mail."""

from __future__ import annotations

from typing import Any

from django import forms

from common.addresses import ADDRESS_MAX_LENGTH, parse_named_address, split_addresses
from common.text import validate_one_line
from organization.forms import CompleteAddresses, StageConfirmation
from organization.models import App
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


_REASON_LENGTH = 200


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


class SimulationForm(forms.Form):
    """A mail that nobody sends: its recipients, and whether the test list shall be as it is or otherwise."""

    to = forms.CharField(label="To", widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}), max_length=100_000)
    cc = forms.CharField(label="Cc", required=False, max_length=100_000)
    bcc = forms.CharField(label="Bcc", required=False, max_length=100_000)
    as_if = forms.ChoiceField(
        label="The test list",
        required=False,
        choices=[("", "as it is now"), ("active", "as if it were Active"), ("inactive", "as if it were Inactive")],
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
