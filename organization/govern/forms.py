"""Parse what is entered about members, roles and grants. The pages and Django admin share the forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django import forms

from organization.access import Actor
from organization.forms import CompleteAddresses, VersionedForm
from organization.models import App, Member, Role, Stage
from organization.permissions import CATEGORIES, Permission, with_needed


class MemberForm(CompleteAddresses, VersionedForm[Member]):
    """Without a password: members choose their own, through a link."""

    class Meta:
        model = Member
        fields = ("email", "name", "is_staff")
        help_texts = {"is_staff": "What they find there depends on their roles."}

    def __init__(self, *args: Any, editor: Member | None = None, **kwargs: Any) -> None:
        """`editor`: the member who fills it in. Only one who may open Django admin lets others open it."""
        super().__init__(*args, **kwargs)
        if editor is not None and not (editor.is_staff or editor.is_superuser):
            del self.fields["is_staff"]

    def clean(self) -> None:
        super().clean()
        if "email" in self.changed_data and "email" in self.cleaned_data:
            self.ask_about("email", [self.cleaned_data["email"]])


class GiveRoleForm(forms.Form):
    """A role, and where the member gets it."""

    role = forms.ModelChoiceField(Role.objects.none(), empty_label="Choose a role")
    app = forms.ModelChoiceField(
        App.objects.without_built_in().filter(archived=False), required=False, empty_label="All apps", label="For"
    )
    stages = forms.ModelMultipleChoiceField(
        Stage.objects.filter(archived=False),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Choose none for all stages of the role.",
    )

    def __init__(self, data: Any, roles: Sequence[Role]) -> None:
        super().__init__(data)
        field = self.fields["role"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Role.objects.filter(pk__in=[role.pk for role in roles])


class Choice(NamedTuple):
    """A permission in the matrix of a role."""

    permission: Permission
    given: bool
    held: bool  # whether the member who edits the role holds it


class RoleForm(VersionedForm[Role]):
    permissions = forms.MultipleChoiceField(choices=Permission.choices, widget=forms.CheckboxSelectMultiple, required=False)

    class Meta:
        model = Role
        fields = ("name", "permissions", "stages")
        widgets = {"stages": forms.CheckboxSelectMultiple}

    def clean_permissions(self) -> list[str]:
        """With the permissions that the chosen ones need."""
        return with_needed(self.cleaned_data["permissions"])

    def matrix(self, actor: Actor) -> list[tuple[str, list[Choice]]]:
        """The permissions by category, as they are chosen so far."""
        return matrix_of(self["permissions"].value() or [], actor)


def matrix_of(codes: Sequence[str], actor: Actor) -> list[tuple[str, list[Choice]]]:
    return [
        (category.label, [Choice(item, item.value in codes, actor.has_perm_anywhere(item.path)) for item in category.permissions])
        for category in CATEGORIES
    ]
