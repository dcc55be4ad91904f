"""What a person chooses before an action on many emails, and confirms."""

from __future__ import annotations

from typing import Any

from django import forms

from common.text import validate_one_line
from emaillog.bulk.service import CODES_MINUTES, Request
from outbox.bulk.checks import ENDING, Act

_A_DAY = 24 * 60


class BulkForm(forms.Form):
    """The act's own fields alone: whom to resend to, why emails end, and in Production the stage's name."""

    to = forms.ChoiceField(
        label="Resend to",
        choices=[("missing", "Only recipients who didn't get it"), ("everybody", "Everybody, also those who got it")],
        widget=forms.RadioSelect,
        required=False,
    )
    codes_minutes = forms.IntegerField(
        label="Leave out one-time codes older than (minutes)",
        min_value=1,
        max_value=_A_DAY,
        required=False,
        help_text="They are recognized by their subject, such as “Your verification code”. Empty resends them too.",
    )
    reason = forms.CharField(
        max_length=200,
        validators=[validate_one_line],
        required=False,
        help_text="Each email shows it, with your name.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    stage_name = forms.CharField(
        max_length=100, required=False, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )
    up_to = forms.IntegerField(widget=forms.HiddenInput, required=False, min_value=0, max_value=10**18, localize=False)

    def __init__(self, data: Any, act: Act) -> None:
        initial = {"to": "missing", "codes_minutes": CODES_MINUTES}
        super().__init__(data, initial=initial)
        self.act = act
        for name in ("to", "codes_minutes") if act != Act.RESEND else ():
            del self.fields[name]
        if act not in ENDING:
            del self.fields["reason"], self.fields["stage_name"]

    def ask_for_stage_name(self, names: list[str]) -> None:
        """Leave the field out where no Production stage is changed."""
        if "stage_name" not in self.fields:
            return
        if names:
            self.fields["stage_name"].label = f"This changes Production. Type “{names[0]}” to confirm"
        else:
            del self.fields["stage_name"]

    def request(self, query: str) -> Request:
        """For a form that is valid, or that isn't bound: then as it is filled in at first."""
        values = self.cleaned_data if self.is_bound else self.initial
        return Request(
            self.act,
            query,
            everybody=values.get("to") == "everybody",
            codes_minutes=values.get("codes_minutes"),
            reason=values.get("reason") or "",
            up_to=values.get("up_to"),
        )
