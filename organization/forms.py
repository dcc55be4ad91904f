"""Parse what members enter about apps, stages, credentials and themselves.

The rules are in the models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.text import slugify

from common.addresses import may_be_incomplete
from organization.access import Actor
from organization.exceptions import StaleVersion
from organization.models import App, Credential, Stage, VersionedModel, validate_key
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import create_stage, save_in_organization
from organization.stage_name import check_stage_name

V = TypeVar("V", bound=VersionedModel)

_ASKED_ABOUT = 5


def add_refusal(form: forms.BaseForm, error: ValidationError) -> None:
    """Show a service's errors at their fields, or else above the form."""
    errors_by_field = error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.error_list}
    for field, errors in errors_by_field.items():
        form.add_error(field if field in form.fields else None, errors)


def _offer_key_only_once(form: forms.ModelForm[Any]) -> None:
    """Remove the field of a stored key, which can't be changed.

    For a new one, replace Django's messages about slugs. An empty key is made from the name.
    """
    if form.instance.pk:
        form.fields.pop("key", None)  # Django admin shows it read-only and has already left it out
        return
    key = form.fields["key"]
    key.error_messages["invalid"] = str(validate_key.message)
    key.required = False
    key.help_text = f"{key.help_text} If you leave it empty, it is made from the name."


def _key_or_proposal(form: forms.ModelForm[Any]) -> str:
    """The key that was entered, or else one made from the name, which was cleaned before it."""
    key = str(form.cleaned_data["key"] or slugify(form.cleaned_data.get("name", ""))[:40].strip("-_"))
    if not key:
        raise ValidationError("Enter a key.", code="required")
    return key


class VersionedForm(forms.ModelForm[V]):
    """A form with the version that its page was made from.

    A save over another version is refused (decision 7).
    """

    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].initial = self.instance.version
        self.fields["version"].required = self.instance.pk is not None  # a new instance has no version that was read

    def clean(self) -> None:
        """Refuse a stale page early, so that all values of the form are of one version.

        The service checks the version again.
        """
        if self.instance.pk and self.cleaned_data.get("version", self.instance.version) != self.instance.version:
            raise StaleVersion()


class AppForm(VersionedForm[App]):
    class Meta:
        model = App
        fields = ("name", "key", "description", "colour")
        widgets = {"colour": forms.RadioSelect, "key": forms.TextInput(attrs={"spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _offer_key_only_once(self)

    def clean_key(self) -> str:
        return _key_or_proposal(self)


class StageForm(VersionedForm[Stage]):
    """The recipient policy is asked for a new stage alone; later it has its own page."""

    policy = forms.TypedChoiceField(
        label="Who gets email",
        required=False,
        widget=forms.RadioSelect,
        choices=[
            ("", "The default for its type: real recipients in Production, otherwise only lists and allowed addresses"),
            (RecipientPolicy.NOBODY, "Nobody: all email is captured"),
            (RecipientPolicy.LISTED_ONLY, "Test lists and allowed addresses only"),
            (RecipientPolicy.AS_APPS_ASK, "The recipients that apps give"),
        ],
        coerce=RecipientPolicy,
        empty_value=None,
        help_text="For real recipients outside Production you need the permission Manage Email Configurations.",
    )

    class Meta:
        model = Stage
        fields = ("name", "key", "kind")
        widgets = {"kind": forms.RadioSelect, "key": forms.TextInput(attrs={"spellcheck": "false"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _offer_key_only_once(self)
        if self.instance.pk is not None:
            del self.fields["policy"]

    def clean_key(self) -> str:
        return _key_or_proposal(self)

    def store(self, actor: Actor) -> Stage:
        """Raises PermissionDenied, ValidationError, StaleVersion."""
        if self.instance.pk is None:
            return create_stage(self.instance, actor, self.cleaned_data["policy"])
        return save_in_organization(self.instance, actor)


class CredentialForm(VersionedForm[Credential]):
    class Meta:
        model = Credential
        fields = ("name", "ends", "networks")
        widgets = {
            "ends": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            "networks": forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = False  # a form without the field takes the model's default


class StageConfirmation(forms.Form):
    """Ask for confirmation before an action that can't be undone.

    In a Production stage its name must be typed, so that it can't be mistaken for another stage.
    """

    stage_name = forms.CharField(
        label="Name of the stage",
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Type the stage's name to confirm."},
    )

    def __init__(self, data: Any, stage: Stage, *others: Any) -> None:
        super().__init__(data, *others)  # further arguments of a form that this one is mixed with
        self.stage = stage
        if stage.is_production:
            self.fields["stage_name"].help_text = f"This is a Production stage. Type “{stage.name}” to confirm."
        else:
            del self.fields["stage_name"]

    def clean_stage_name(self) -> str:
        name: str = self.cleaned_data["stage_name"]
        check_stage_name(self.stage, name)
        return name


class CompleteAddresses(forms.Form):
    """A form with addresses that asks about a domain without a dot.

    The rest of that domain may be missing.
    """

    complete = forms.BooleanField(
        required=False,
        label="The domain is complete",
        help_text="On a local network a domain may have no dot.",
    )

    incomplete: Sequence[str] = ()

    def ask_about(self, field: str, addresses: Iterable[str]) -> None:
        """Show the question at `field`, unless it was answered. Call it in clean()."""
        self.incomplete = [address for address in addresses if may_be_incomplete(address)]
        if self.incomplete and not self.cleaned_data.get("complete"):
            named = ", ".join(self.incomplete[:_ASKED_ABOUT])
            self.add_error(field, f"Is the domain complete? It has no dot: {named}. Correct it, or confirm it below.")
