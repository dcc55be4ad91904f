"""Parses what people enter about who gets email from a stage. Rules are in organization.recipient_policy.changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone

from common.addresses import split_addresses
from organization.models import Stage
from organization.recipient_policy.changes import policy_in_force
from organization.recipient_policy.patterns import normalize_all
from organization.recipient_policy.policy import RecipientPolicy

_CHOICES = [
    (RecipientPolicy.NOBODY.value, "Nobody: all email is captured, even while a test list is Active"),
    (RecipientPolicy.LISTED_ONLY.value, "Test lists and allowed addresses only: all other copies are captured"),
    (RecipientPolicy.AS_APPS_ASK.value, "The recipients that apps give"),
]


class _WideningForm(forms.Form):
    """What may let more people get email. It may have an end, and asks for the stage's name."""

    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)
    until = forms.DateTimeField(required=False, widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"))
    stage_name = forms.CharField(
        label="Name of the stage",
        required=False,
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Type the stage's name to confirm."},
    )

    def __init__(self, data: Any, stage: Stage, **options: Any) -> None:
        initial = {"version": stage.policy_version, **options.pop("initial", {})}
        super().__init__(data, initial=initial, **options)
        self.fields["until"].label = f"Until ({timezone.get_current_timezone_name()})"

    def options(self) -> dict[str, Any]:
        """What a change to the wider takes beside what is changed."""
        values = self.cleaned_data
        return {"until": values["until"], "typed_stage_name": values["stage_name"], "expected_version": values["version"]}


class PolicyForm(_WideningForm):
    policy = forms.TypedChoiceField(
        label="Recipient policy", choices=_CHOICES, widget=forms.RadioSelect, coerce=RecipientPolicy, empty_value=None
    )
    field_order = ("policy", "until", "stage_name")

    def __init__(self, data: Any, stage: Stage, now: datetime) -> None:
        super().__init__(data, stage, prefix="policy", initial={"policy": policy_in_force(stage, now)})
        self.fields["until"].help_text = "Only for a wider policy. After this time, the present policy is in force again."
        self.fields["stage_name"].help_text = f"If more people get email than now, type “{stage.name}” to confirm."


class AllowForm(_WideningForm):
    patterns = forms.CharField(
        label="Addresses and domains",
        max_length=1_000_000,  # so that a long list is refused for its number of entries
        widget=forms.Textarea({"rows": 4, "spellcheck": "false"}),
        help_text="One per line, or separated by commas: ana@acme.example, acme.example. A domain stands for all its addresses.",
    )
    field_order = ("patterns", "until", "stage_name")

    def __init__(self, data: Any, stage: Stage) -> None:
        super().__init__(data, stage, prefix="allow")
        self.fields["until"].help_text = "Optional. Empty: until you remove them."
        self.fields["stage_name"].required = True
        self.fields["stage_name"].help_text = f"More people will get email. Type “{stage.name}” to confirm."

    def clean_patterns(self) -> list[str]:
        return normalize_all(split_addresses(self.cleaned_data["patterns"]))
