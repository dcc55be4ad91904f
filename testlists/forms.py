"""Parses a test list as a person edits it: whom to keep, which members and which pasted addresses to add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.crypto import salted_hmac

from common.addresses import NamedAddress
from organization.forms import CompleteAddresses, check_stage_name
from organization.http import is_row_number
from organization.models import Member
from testlists.models import TestList, TestListAddress
from testlists.paste_review import Preview, preview_of
from testlists.services import Wanted

_ERRORS_SHOWN = 10


class _Keys(forms.MultipleChoiceField):
    """Keys of entries. One that is gone belongs to a stale page, which the version tells better than the choice."""

    def valid_value(self, value: object) -> bool:
        return True


class _Members(forms.ModelMultipleChoiceField[Member]):
    def clean(self, value: Any) -> Any:
        if not all(is_row_number(pk) for pk in value or []):
            raise ValidationError(self.error_messages["invalid_pk_value"] % {"pk": "…"}, code="invalid_pk_value")
        return super().clean(value)


@dataclass(frozen=True)
class Row:
    """A person now on the list, as the form shows it."""

    key: str
    person: NamedAddress
    is_member: bool
    kept: bool


class TestListForm(CompleteAddresses):
    """Everything a Save needs; `wanted()` is what the list shall be, `preview` what becomes of what was pasted."""

    __test__ = False

    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)
    active = forms.BooleanField(
        required=False,
        label="Status",
        widget=forms.CheckboxInput(attrs={"role": "switch", "data-on": "Active", "data-off": "Inactive"}),
    )
    stage_name = forms.CharField(
        label="Name of the stage",
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Type the stage's name to activate the list."},
    )
    tag_subject = forms.BooleanField(required=False, label="Tag the subject with the stage")
    keep = _Keys(required=False, widget=forms.CheckboxSelectMultiple)
    find = forms.CharField(
        required=False,
        label="Find members",
        help_text="Type a part of a name or address.",
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    members = _Members(Member.objects.filter(is_active=True), required=False)
    add = forms.CharField(
        required=False,
        label="Add other addresses",
        help_text=(
            "One per line, or separated by commas: ana@example.com, or Ana Silva <ana@example.com>. "
            "Or paste one or two columns of a spreadsheet: name and address."
        ),
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
    )

    def __init__(self, data: Any = None, *, test_list: TestList, sees_addresses: bool) -> None:
        self.stage, self.sees_addresses = test_list.stage, sees_addresses
        self.preview: Preview | None = None  # until what was pasted is cleaned, and if it is too much to check
        self.entries: list[TestListAddress] = test_list.present_entries()
        keys = [self._key(entry) for entry in self.entries]
        super().__init__(
            data,
            initial={
                "version": test_list.version,
                "active": test_list.active,
                "tag_subject": test_list.tag_subject,
                "keep": keys,
            },
        )
        keep = self.fields["keep"]
        assert isinstance(keep, forms.MultipleChoiceField)
        keep.choices = [(self._key(entry), "") for entry in self.entries]
        self.fields["tag_subject"].help_text = f"“Welcome” becomes “[{self.stage.name}] Welcome” in test mail."
        self._ask_for_the_stage_name(already_active=test_list.active)

    def _ask_for_the_stage_name(self, *, already_active: bool) -> None:
        """Only where a person switches on what keeps real people's mail from them in Production."""
        if already_active or not self.stage.is_production:
            del self.fields["stage_name"]
            return
        field = self.fields["stage_name"]
        field.help_text = f"This is a Production stage: real people stop getting mail. Type “{self.stage.name}” to confirm."
        field.required = not self.is_bound or bool(self["active"].value())

    def clean_stage_name(self) -> str:
        name: str = self.cleaned_data["stage_name"]
        if self.cleaned_data.get("active"):
            check_stage_name(self.stage, name)
        return name

    def clean_add(self) -> list[NamedAddress]:
        """Whom Save adds. Who is on the list already, or twice in the text, is no mistake: they stand on it once."""
        self.preview = preview_of(self.cleaned_data["add"], *self._staying())
        problems = [f"Entry {row.number}: {row.reason}" for row in self.preview.wrong]
        if problems:
            more = len(problems) - _ERRORS_SHOWN
            raise ValidationError(problems[:_ERRORS_SHOWN] + ([f"… and {more} more."] if more > 0 else []))
        return self.preview.added

    def clean(self) -> None:
        if "add" in self.cleaned_data:
            self.ask_about("add", [person.email for person in self.cleaned_data["add"]])

    def rows(self) -> list[Row]:
        """Everybody on the list, with whether the form as it stands keeps them."""
        kept = set(self["keep"].value() or [])
        return [
            Row(
                self._key(entry),
                entry.person_for(sees_addresses=self.sees_addresses),
                entry.is_member,
                self._key(entry) in kept,
            )
            for entry in self.entries
        ]

    def _key(self, entry: TestListAddress) -> str:
        """An entry's own key holds its address."""
        return entry.key if self.sees_addresses else salted_hmac("testlists.entry", entry.key).hexdigest()

    def wanted(self) -> Wanted:
        """What a valid form asks for."""
        members, people = self._staying()
        return Wanted(
            active=self.cleaned_data["active"],
            tag_subject=self.cleaned_data["tag_subject"],
            members=members,
            people=[*people, *self.cleaned_data["add"]],
        )

    def _staying(self) -> tuple[list[Member], list[NamedAddress]]:
        """Who is on the list whatever was pasted: those kept, and the members ticked."""
        kept = [entry for entry in self.entries if self._key(entry) in self.cleaned_data["keep"]]
        members = [entry.member for entry in kept if entry.member is not None]
        return [*members, *self.cleaned_data.get("members", [])], [entry.person for entry in kept if not entry.is_member]

    def add_service_error(self, error: ValidationError) -> None:
        """Put what the service refused at its field: what is wrong with the people stands at `add`."""
        if hasattr(error, "error_dict"):
            for field, errors in error.error_dict.items():
                self.add_error("add" if field == "people" else field, errors)
        else:
            self.add_error(None, error)
