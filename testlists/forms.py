"""Parse a test list as it is edited on the page.

The form says which people to keep, and which members and pasted addresses to add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import salted_hmac

from common.addresses import NamedAddress
from organization.forms import CompleteAddresses
from organization.models import Member, Stage
from organization.stage_name import check_stage_name
from organization.web.http import is_row_number
from testlists.models import TestList, TestListAddress
from testlists.paste_review import Preview, preview_of
from testlists.services import ListChange

_ERRORS_SHOWN = 10


class _Keys(forms.MultipleChoiceField):
    """The keys of entries.

    A key of a removed entry comes from a stale page. The version reports that better than an invalid choice.
    """

    def valid_value(self, value: object) -> bool:
        return True


class _Members(forms.ModelMultipleChoiceField[Member]):
    def clean(self, value: Any) -> Any:
        if not all(is_row_number(pk) for pk in value or []):
            raise ValidationError(self.error_messages["invalid_pk_value"] % {"pk": "…"}, code="invalid_pk_value")
        return super().clean(value)


def _what_its_end_does(stage: Stage) -> str:
    if stage.is_production:
        return "Optional, within a year. Then emails go to their real recipients again."
    return "Optional, within a year. Then emails are held until you extend or deactivate the list."


@dataclass(frozen=True)
class Row:
    """A person on the list, as the form shows it."""

    key: str
    person: NamedAddress
    is_member: bool
    kept: bool


class TestListForm(CompleteAddresses):
    """The form in edit mode.

    `change()` is the list that the form asks for. `preview` is the verdict on each pasted entry.
    """

    __test__ = False

    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)
    active = forms.BooleanField(
        required=False,
        label="Status",
        widget=forms.CheckboxInput(attrs={"role": "switch", "data-on": "Active", "data-off": "Inactive"}),
    )
    active_until = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
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
        self.preview: Preview | None = None  # before the pasted text is cleaned, or if it has too many entries to check
        self.entries: list[TestListAddress] = test_list.present_entries()
        keys = [self._key(entry) for entry in self.entries]
        super().__init__(
            data,
            initial={
                "version": test_list.version,
                "active": test_list.active,
                "active_until": test_list.active_until,
                "tag_subject": test_list.tag_subject,
                "keep": keys,
            },
        )
        keep = self.fields["keep"]
        assert isinstance(keep, forms.MultipleChoiceField)
        keep.choices = [(self._key(entry), "") for entry in self.entries]
        self.fields["active_until"].label = f"Active until ({timezone.get_current_timezone_name()})"
        self.fields["active_until"].help_text = _what_its_end_does(self.stage)
        self.fields["tag_subject"].help_text = f"“Welcome” becomes “[{self.stage.name}] Welcome” in test mail."
        self._ask_for_the_stage_name(already_active=test_list.active)

    def _ask_for_the_stage_name(self, *, already_active: bool) -> None:
        """Require the name of a Production stage before its list is activated.

        Real people then stop getting email.
        """
        if already_active or not self.stage.is_production:
            del self.fields["stage_name"]
            return
        field = self.fields["stage_name"]
        field.help_text = f"This is a Production stage: real people will stop getting email. Type “{self.stage.name}” to confirm."
        field.required = not self.is_bound or bool(self["active"].value())

    def clean_stage_name(self) -> str:
        name: str = self.cleaned_data["stage_name"]
        if self.cleaned_data.get("active"):
            check_stage_name(self.stage, name)
        return name

    def clean_add(self) -> list[NamedAddress]:
        """The people to add.

        An address that is already on the list, or twice in the text, is no error. It is on the list once.
        """
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
        """All people on the list, and whether the form keeps them."""
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
        """The entry's key in the form.

        For members who may not see addresses it is a hash, because the entry's own key contains the address.
        """
        return entry.key if self.sees_addresses else salted_hmac("testlists.entry", entry.key).hexdigest()

    def change(self) -> ListChange:
        """The list that a valid form asks for."""
        members, people = self._staying()
        return ListChange(
            active=self.cleaned_data["active"],
            tag_subject=self.cleaned_data["tag_subject"],
            members=members,
            people=[*people, *self.cleaned_data["add"]],
            active_until=self.cleaned_data["active_until"],
        )

    def _staying(self) -> tuple[list[Member], list[NamedAddress]]:
        """The kept people and the selected members, without the pasted addresses."""
        kept = [entry for entry in self.entries if self._key(entry) in self.cleaned_data["keep"]]
        members = [entry.member for entry in kept if entry.member is not None]
        return [*members, *self.cleaned_data.get("members", [])], [entry.person for entry in kept if not entry.is_member]

    def add_service_error(self, error: ValidationError) -> None:
        """Show a service's errors at their fields; errors of `people` are shown at `add`."""
        if hasattr(error, "error_dict"):
            for field, errors in error.error_dict.items():
                self.add_error("add" if field == "people" else field, errors)
        else:
            self.add_error(None, error)
