"""Test lists in Django admin, with people as lines of text.

The service checks and saves them.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from common.addresses import parse_named_address
from organization.admin_base import PlaceAdmin, member_of
from organization.forms import CompleteAddresses
from organization.stage_name import check_stage_name
from testlists.models import TestList
from testlists.services import MAY_EDIT, ListChange, check, save_test_list, sees_addresses, wait_until_none_in_flight


class TestListAdminForm(CompleteAddresses, forms.ModelForm[TestList]):
    people = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 10}),
        help_text="One per line: ana@example.com, or Ana Silva <ana@example.com>. A member's address adds the member.",
    )
    stage_name = forms.CharField(
        label="Name of the stage",
        required=False,
        max_length=100,
        help_text="Only needed to activate a list in Production.",
    )
    version = forms.IntegerField(widget=forms.HiddenInput, localize=False)

    class Meta:
        model = TestList
        fields = ("active", "active_until", "tag_subject")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].initial = self.instance.version
        if self.instance.pk:
            self.fields["people"].initial = "\n".join(str(person) for person in self.instance.people())

    def clean(self) -> None:
        self._ask_for_the_stage_name()
        lines = [line for line in self.cleaned_data.get("people", "").splitlines() if line.strip()]
        try:
            self.change = ListChange(
                active=self.cleaned_data["active"],
                tag_subject=self.cleaned_data["tag_subject"],
                members=[],
                people=[parse_named_address(line) for line in lines],
                active_until=self.cleaned_data.get("active_until"),
            )
        except ValidationError as error:
            raise ValidationError({"people": error}) from error
        check(self.change)
        known = {person.email for person in self.instance.people()}
        self.ask_about("people", [person.email for person in self.change.people if person.email not in known])

    def _ask_for_the_stage_name(self) -> None:
        """Require the stage's name before real people stop getting email."""
        stage = self.instance.stage
        if stage.is_production and self.cleaned_data.get("active") and not self.instance.active:
            try:
                check_stage_name(stage, self.cleaned_data.get("stage_name", ""))
            except ValidationError as error:
                self.add_error("stage_name", error)


@admin.register(TestList)
class TestListAdmin(PlaceAdmin):
    permissions = MAY_EDIT
    form = TestListAdminForm
    fields = ("app", "stage", "active", "active_until", "tag_subject", "people", "complete", "stage_name", "version")
    exclude = ("version",)  # the model's field, which can't be edited; the form has its own field of this name
    readonly_fields = ("app", "stage")
    list_display = ("app", "stage", "active", "active_until")
    list_select_related = ("app", "stage")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._sees_addresses(request, obj) and super().has_view_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._sees_addresses(request, obj) and super().has_change_permission(request, obj)

    def _sees_addresses(self, request: HttpRequest, obj: Any) -> bool:
        """Whether the member may see the addresses.

        The people are lines of text here, so they can't be masked one by one.
        """
        return obj is None or sees_addresses(member_of(request), obj.app, obj.stage)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # every app already has a list in every stage

    def save_model(self, request: HttpRequest, obj: TestList, form: Any, change: bool) -> None:
        saved = save_test_list(obj.app, obj.stage, form.change, member_of(request), expected_version=form.cleaned_data["version"])
        transaction.on_commit(lambda: _wait(request, saved))  # inside the transaction workers would wait for it


def _wait(request: HttpRequest, test_list: TestList) -> None:
    if leaving := wait_until_none_in_flight(test_list):
        messages.warning(request, f"It is still activating: {leaving} email(s) from before are still being sent.")
