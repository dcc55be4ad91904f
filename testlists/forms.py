"""Parses a test list as a person edits it: whom to keep, which members and which pasted addresses to add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from organization.addresses import NamedAddress, parse_named_address, split_addresses
from organization.http import is_row_number
from organization.models import Member
from testlists.models import MAX_ADDRESSES, TestList, TestListAddress
from testlists.services import TOO_MANY, Wanted

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


class TestListForm(forms.Form):
    """Everything a Save needs; `wanted()` is what the list shall be."""

    __test__ = False

    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)
    active = forms.BooleanField(
        required=False,
        label="Status",
        widget=forms.CheckboxInput(attrs={"role": "switch", "data-on": "Active", "data-off": "Inactive"}),
    )
    tag_subject = forms.BooleanField(
        required=False,
        label="Tag the subject with the stage",
        help_text=TestList._meta.get_field("tag_subject").help_text,
    )
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
        help_text="One per line, or separated by commas: ana@example.com, or Ana Silva <ana@example.com>.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )

    def __init__(self, data: Any = None, *, test_list: TestList) -> None:
        self.entries: list[TestListAddress] = test_list.present_entries()
        keys = [entry.key for entry in self.entries]
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
        keep.choices = [(entry.key, str(entry.person)) for entry in self.entries]

    def clean_add(self) -> list[NamedAddress]:
        parts = split_addresses(self.cleaned_data["add"])
        if len(parts) > MAX_ADDRESSES:
            raise ValidationError(f"{TOO_MANY} These are {len(parts):,}.")
        people, problems = [], []
        for number, part in enumerate(parts, start=1):
            try:
                people.append(parse_named_address(part))
            except ValidationError as error:
                problems.append(f"Entry {number}: {error.messages[0]}")
        if problems:
            more = len(problems) - _ERRORS_SHOWN
            raise ValidationError(problems[:_ERRORS_SHOWN] + ([f"… and {more} more."] if more > 0 else []))
        return people

    def rows(self) -> list[Row]:
        """Everybody on the list, with whether the form as it stands keeps them."""
        kept = set(self["keep"].value() or [])
        return [Row(entry.key, entry.person, entry.is_member, entry.key in kept) for entry in self.entries]

    def wanted(self) -> Wanted:
        """What a valid form asks for."""
        kept = [entry for entry in self.entries if entry.key in self.cleaned_data["keep"]]
        members = [entry.member for entry in kept if entry.member is not None]
        return Wanted(
            active=self.cleaned_data["active"],
            tag_subject=self.cleaned_data["tag_subject"],
            members=[*members, *self.cleaned_data["members"]],
            people=[*(entry.person for entry in kept if not entry.is_member), *self.cleaned_data["add"]],
        )

    def add_service_error(self, error: ValidationError) -> None:
        """Put what the service refused at its field: what is wrong with the people stands at `add`."""
        if hasattr(error, "error_dict"):
            for field, errors in error.error_dict.items():
                self.add_error("add" if field == "people" else field, errors)
        else:
            self.add_error(None, error)
