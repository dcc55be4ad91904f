"""What a person is asked before an act on a mail."""

from __future__ import annotations

from typing import Any

from django import forms

from outbox.models import Message


class _AboutMail(forms.Form):
    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data)
        self.message = message


class CancelForm(_AboutMail):
    """In a Production stage its name is typed, so that nobody takes it for another."""

    stage_name = forms.CharField(label="Name of the stage", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data, message)
        if message.stage.is_production:
            self.fields["stage_name"].help_text = f"This is a Production stage. Type “{message.stage.name}” to confirm."
        else:
            del self.fields["stage_name"]

    def clean_stage_name(self) -> str:
        name: str = self.cleaned_data["stage_name"]
        if name != self.message.stage.name:
            raise forms.ValidationError(f"This isn't the stage's name: it is “{self.message.stage.name}”.")
        return name


class ResendForm(_AboutMail):
    """The last mail that repeats this one, as the page knew it; 0 for none. A second click must not send it twice."""

    read_at = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    def __init__(self, data: Any, message: Message) -> None:
        super().__init__(data, message)
        self.fields["read_at"].initial = message.resent_as or 0


class ReleaseForm(CancelForm, ResendForm):
    """For resending past the test list: both."""
