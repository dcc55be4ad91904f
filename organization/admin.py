"""Members, roles, grants, stages, apps, credentials and the audit trail in Django admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from organization.admin_base import PortalAdmin, ReadOnlyAdmin, member_of
from organization.audit_filter import recent_values
from organization.credentials import MAY_MANAGE, revoke_credential
from organization.forms import AppForm
from organization.models import App, AuditEvent, Credential, Member, Role, RoleGrant, Stage
from organization.permissions import EVERYWHERE, Permission, allowed
from organization.services import delete_from_organization, save_app, save_in_organization, save_role

admin.site.site_header = admin.site.site_title = "ODC Email Portal"
admin.site.unregister(Group)


class OrganizationAdmin(PortalAdmin):
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        save_in_organization(obj, member_of(request))


class MemberForm(forms.ModelForm[Member]):
    new_password = forms.CharField(
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Leave empty to keep the password.",
    )

    class Meta:
        model = Member
        fields = ("email", "name", "is_active", "is_staff", "theme", "time_zone")

    def clean_new_password(self) -> str:
        password: str = self.cleaned_data["new_password"]
        if password:
            validate_password(password, self.instance)
        return password


@admin.register(Member)
class MemberAdmin(OrganizationAdmin):
    form = MemberForm
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    search_fields = ("email", "name")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A superuser's account, password included, is for superusers only."""
        above = obj is not None and obj.is_superuser and not member_of(request).is_superuser
        return not above and super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Member, form: Any, change: bool) -> None:
        if form.cleaned_data["new_password"]:
            obj.set_password(form.cleaned_data["new_password"])
        elif not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)


class RoleForm(forms.ModelForm[Role]):
    permissions = forms.MultipleChoiceField(choices=Permission.choices, widget=forms.CheckboxSelectMultiple, required=False)

    class Meta:
        model = Role
        fields = ("name", "permissions", "stages")


class DeletableAdmin(OrganizationAdmin):
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        delete_from_organization(obj, member_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for found in queryset:
            delete_from_organization(found, member_of(request))


@admin.register(Role)
class RoleAdmin(DeletableAdmin):
    form = RoleForm
    list_display = ("name", "built_in")
    filter_horizontal = ("stages",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return not (obj is not None and obj.built_in) and super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Role, form: Any, change: bool) -> None:
        save_role(obj, form.cleaned_data["stages"], member_of(request))


@admin.register(RoleGrant)
class RoleGrantAdmin(DeletableAdmin):
    list_display = ("member", "role", "app")
    list_select_related = ("member", "role", "app")


@admin.register(Stage)
class StageAdmin(OrganizationAdmin):
    list_display = ("order", "name", "key", "kind", "archived")
    list_display_links = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("key",) if obj else ()


class AppAdminForm(AppForm):
    class Meta(AppForm.Meta):
        fields = (*AppForm.Meta.fields, "archived")  # type: ignore[assignment]


@admin.register(App)
class AppAdmin(PortalAdmin):
    permissions = (Permission.MANAGE_APPS,)
    form = AppAdminForm
    fields = ("name", "key", "description", "colour", "archived", "version")
    exclude = ("version",)  # the model's own, which can't be edited: the form has a field of this name
    list_display = ("name", "key", "archived")
    search_fields = ("name", "key")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("key",) if obj else ()

    def save_model(self, request: HttpRequest, obj: App, form: Any, change: bool) -> None:
        save_app(obj, member_of(request))


@admin.register(Credential)
class CredentialAdmin(ReadOnlyAdmin):
    """Credentials are created in the portal, which shows the secret once; here they are listed and revoked."""

    permissions = MAY_MANAGE
    list_display = ("username", "name", "app", "stage", "created", "last_used", "revoked_at")
    list_select_related = ("app", "stage")
    exclude = ("secret_hash",)
    actions = ("revoke",)

    @admin.action(description="Revoke the selected credentials")
    def revoke(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        with transaction.atomic():  # all of them, or a 403 and none
            for credential in queryset.select_related("app", "stage"):
                revoke_credential(credential, member_of(request))
        messages.success(request, "The credentials were revoked: nobody can sign in with them any more.")


class RecentValuesFilter(admin.AllValuesFieldListFilter):
    """Offers what the newest events have."""

    def __init__(self, field: Any, request: HttpRequest, params: Any, model: Any, model_admin: Any, field_path: str) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        self.lookup_choices = recent_values(field_path)  # type: ignore[assignment]  # read once, like Django's query set


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor_name", "operation", "entity", "entity_name", "app", "stage")
    list_select_related = ("app", "stage")
    list_filter = (("operation", RecentValuesFilter), ("entity", RecentValuesFilter))
    search_fields = ("actor_name", "entity_name")
    show_full_result_count = False

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What changed may be who is on a test list."""
        sees_addresses = allowed(member_of(request), EVERYWHERE, Permission.ACCESS_USER_INFORMATION)
        return () if sees_addresses else ("before", "after")
