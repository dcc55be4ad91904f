"""Roles, grants, stages, apps, credentials and the audit trail in Django admin."""

from __future__ import annotations

from typing import Any, TypeVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from organization.access import EVERYWHERE, allowed
from organization.admin_base import PlaceAdmin, PortalAdmin, ReadOnlyAdmin, member_of
from organization.audit.filters import recent_values
from organization.credentials import revoke_credential
from organization.forms import AppForm, VersionedForm
from organization.govern.forms import RoleForm
from organization.govern.rights import may_change_role
from organization.govern.services import delete_role, revoke_grant, save_grant, save_role
from organization.kept_headers.changes import keep_header, stop_keeping_header
from organization.models import (
    AllowedAddress,
    App,
    AuditEvent,
    Credential,
    Installation,
    KeptHeader,
    Role,
    RoleGrant,
    Stage,
)
from organization.permissions import Permission
from organization.recipient_policy.changes import allow, change_policy, disallow, wait_until_none_in_flight
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import create_stage, save_app, save_in_organization
from organization.stage_name import check_stage_name
from organization.throttle.models import FailureCount

V = TypeVar("V", App, Stage)
C = TypeVar("C", AllowedAddress, KeptHeader)

admin.site.site_header = admin.site.site_title = "ODC Email Portal"
admin.site.unregister(Group)


class DeletableAdmin(PortalAdmin):
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():  # all of them, or none
            for instance in queryset:
                self.delete_model(request, instance)


@admin.register(Role)
class RoleAdmin(DeletableAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    change_permissions = (Permission.MANAGE_ROLES,)
    form = RoleForm
    exclude = ("version",)
    list_display = ("name", "built_in")
    filter_horizontal = ("stages",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or may_change_role(member_of(request), obj))

    def save_model(self, request: HttpRequest, obj: Role, form: Any, change: bool) -> None:
        save_role(obj, form.cleaned_data["stages"], member_of(request))

    def delete_model(self, request: HttpRequest, obj: Role) -> None:
        delete_role(obj, member_of(request))


class RoleGrantForm(VersionedForm[RoleGrant]):
    class Meta:
        model = RoleGrant
        fields = ("member", "role", "app", "stages")


@admin.register(RoleGrant)
class RoleGrantAdmin(DeletableAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    change_permissions = (Permission.MANAGE_MEMBERS,)
    form = RoleGrantForm
    exclude = ("version",)
    filter_horizontal = ("stages",)
    list_display = ("member", "role", "app")
    list_select_related = ("member", "role", "app")

    def save_model(self, request: HttpRequest, obj: RoleGrant, form: Any, change: bool) -> None:
        save_grant(obj, member_of(request), form.cleaned_data["stages"])

    def delete_model(self, request: HttpRequest, obj: RoleGrant) -> None:
        revoke_grant(obj, member_of(request))


class ArchivingForm(VersionedForm[V]):
    """Ask for the name before something in Production is archived, as the pages do."""

    confirmation = forms.CharField(label="Name to confirm", required=False, max_length=100)

    def clean(self) -> None:
        super().clean()
        archives = bool(self.instance.pk) and "archived" in self.changed_data and self.cleaned_data.get("archived")
        name = str(self.instance)
        if archives and self.must_confirm() and self.cleaned_data.get("confirmation") != name:
            self.add_error("confirmation", f"This affects Production. Type “{name}” to archive it.")

    def must_confirm(self) -> bool:
        raise NotImplementedError


class StageAdminForm(ArchivingForm[Stage]):
    policy = forms.TypedChoiceField(
        label="Recipient policy",
        required=False,
        choices=[("", "Unchanged; for a new stage, the default for its type"), *RecipientPolicy.choices],
        coerce=RecipientPolicy,
        empty_value=None,
        help_text="If more people get email than before, type the stage's name below to confirm.",
    )
    policy_ends = forms.DateTimeField(required=False, label="Until", help_text="The end of a wider policy (UTC).")

    class Meta:
        model = Stage
        fields = ("name", "key", "order", "kind", "archived")

    def clean(self) -> None:
        super().clean()
        if self.cleaned_data.get("policy_ends") and (not self.instance.pk or not self.cleaned_data.get("policy")):
            self.add_error("policy_ends", "An end belongs to a wider policy of a stage that exists. Choose that policy, too.")

    def must_confirm(self) -> bool:
        return self.instance.is_production


@admin.register(Stage)
class StageAdmin(PortalAdmin):
    permissions = (Permission.VIEW_STAGES,)
    change_permissions = (Permission.MANAGE_STAGES,)
    form = StageAdminForm
    exclude = ("version",)
    list_display = ("order", "name", "key", "kind", "recipient_policy", "policy_until", "archived")
    list_display_links = ("name",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("key",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Stage, form: Any, change: bool) -> None:
        member, policy = member_of(request), form.cleaned_data["policy"]
        if not change:
            create_stage(obj, member, policy)
            return
        save_in_organization(obj, member)
        if policy is not None:
            until, name = form.cleaned_data["policy_ends"], form.cleaned_data["confirmation"]
            change_policy(obj, policy, member, until=until, typed_stage_name=name)
            _wait_after_commit(request, obj)


def _wait_after_commit(request: HttpRequest, stage: Stage) -> None:
    """A change to the narrower holds when nothing is on the wire any more. Inside its transaction workers would wait for it."""

    def wait() -> None:
        if leaving := wait_until_none_in_flight(stage):
            messages.warning(request, f"{leaving} email(s) handed to the server before are still being sent.")

    transaction.on_commit(wait)


class ConfirmedForStageForm(forms.ModelForm[C]):
    """For what may let more people get email: the stage's name is typed."""

    stage_name = forms.CharField(label="Name of the stage", help_text="Type it to confirm.")

    def clean(self) -> dict[str, Any]:
        typed = super().clean() or {}
        if (stage := typed.get("stage")) and "stage_name" in typed:
            try:
                check_stage_name(stage, typed["stage_name"])
            except ValidationError as error:
                self.add_error("stage_name", error)
        return typed


class AddedAndRemovedAdmin(PlaceAdmin):
    """For what belongs to a stage and is never changed."""

    permissions = (Permission.MANAGE_EMAIL_CONFIGURATIONS,)
    list_select_related = ("stage",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj)


class AllowedAddressAdminForm(ConfirmedForStageForm[AllowedAddress]):
    class Meta:
        model = AllowedAddress
        fields = ("stage", "pattern", "until")


@admin.register(AllowedAddress)
class AllowedAddressAdmin(AddedAndRemovedAdmin):
    """Shown to those alone who may change them everywhere: they are addresses of people. Others have the stage's page."""

    form = AllowedAddressAdminForm
    list_display = ("pattern", "stage", "until", "created", "created_by")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) and allowed(member_of(request), EVERYWHERE, *self.permissions)

    def save_model(self, request: HttpRequest, obj: AllowedAddress, form: Any, change: bool) -> None:
        typed = form.cleaned_data
        (entry,) = allow(obj.stage, [obj.pattern], member_of(request), until=typed["until"], typed_stage_name=typed["stage_name"])
        obj.pk = entry.pk  # Django admin goes on with its own

    def delete_model(self, request: HttpRequest, obj: AllowedAddress) -> None:
        disallow(obj.stage, obj.pattern, member_of(request))
        _wait_after_commit(request, obj.stage)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AllowedAddress]) -> None:
        with transaction.atomic():  # all of them, or a 403 and none
            for entry in queryset.select_related("stage"):
                disallow(entry.stage, entry.pattern, member_of(request))
                _wait_after_commit(request, entry.stage)


class KeptHeaderAdminForm(ConfirmedForStageForm[KeptHeader]):
    class Meta:
        model = KeptHeader
        fields = ("stage", "name")


@admin.register(KeptHeader)
class KeptHeaderAdmin(AddedAndRemovedAdmin):
    form = KeptHeaderAdminForm
    list_display = ("name", "stage", "created", "created_by")

    def save_model(self, request: HttpRequest, obj: KeptHeader, form: Any, change: bool) -> None:
        kept = keep_header(obj.stage, obj.name, member_of(request), typed_stage_name=form.cleaned_data["stage_name"])
        obj.pk = kept.pk  # Django admin continues with its own instance

    def delete_model(self, request: HttpRequest, obj: KeptHeader) -> None:
        stop_keeping_header(obj, member_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[KeptHeader]) -> None:
        with transaction.atomic():  # all of them, or a 403 and none
            for kept in queryset.select_related("stage"):
                stop_keeping_header(kept, member_of(request))


class AppAdminForm(ArchivingForm[App], AppForm):
    class Meta(AppForm.Meta):
        fields = (*AppForm.Meta.fields, "archived")  # type: ignore[assignment]

    def must_confirm(self) -> bool:
        return Stage.objects.filter(kind=Stage.Kind.PRODUCTION, archived=False).exists()


@admin.register(App)
class AppAdmin(PlaceAdmin):
    permissions = (Permission.CHANGE_APPS,)
    form = AppAdminForm
    fields = ("name", "key", "description", "colour", "archived", "confirmation", "version")
    exclude = ("version",)  # the model's field, which can't be edited; the form has its own field of this name
    list_display = ("name", "key", "archived")
    search_fields = ("name", "key")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request) and allowed(member_of(request), EVERYWHERE, Permission.CREATE_APPS)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("key",) if obj else ()

    def save_model(self, request: HttpRequest, obj: App, form: Any, change: bool) -> None:
        save_app(obj, member_of(request))


@admin.register(Credential)
class CredentialAdmin(ReadOnlyAdmin):
    """Credentials are listed and revoked here.

    They are created on the portal's pages, which show the secret once.
    """

    list_display = ("username", "name", "app", "stage", "created", "last_used", "ends", "revoked_at")
    list_select_related = ("app", "stage")
    exclude = ("secret_hash",)
    actions = ("revoke",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)  # every member sees them on the app's page

    @admin.action(description="Revoke the selected credentials")
    def revoke(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        with transaction.atomic():  # all of them, or a 403 and none
            for credential in queryset.select_related("app", "stage"):
                revoke_credential(credential, member_of(request))
        messages.success(request, "The credentials were revoked. No app can sign in with them.")


class RecentValuesFilter(admin.AllValuesFieldListFilter):
    """Offer the values of the newest events."""

    def __init__(self, field: Any, request: HttpRequest, params: Any, model: Any, model_admin: Any, field_path: str) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        self.lookup_choices = recent_values(field_path)  # type: ignore[assignment]  # read once, like Django's query set


@admin.register(Installation)
class InstallationAdmin(ReadOnlyAdmin):
    permissions = (Permission.MANAGE_STAGES,)
    list_display = ("__str__", "seal", "sealed")


@admin.register(FailureCount)
class FailureCountAdmin(ReadOnlyAdmin):
    """Whose sign-in has to wait now. There is nothing to change: no wait is longer than 15 minutes."""

    permissions = (Permission.VIEW_AUDIT_TRAIL,)
    list_display = ("network", "secret", "failures", "last_failure", "blocked_until", "last_success")
    list_filter = ("secret",)
    show_full_result_count = False


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    permissions = (Permission.VIEW_AUDIT_TRAIL,)
    list_display = ("at", "actor_name", "operation", "entity", "entity_name", "app", "stage")
    list_select_related = ("app", "stage")
    list_filter = (("operation", RecentValuesFilter), ("entity", RecentValuesFilter))
    search_fields = ("actor_name", "entity_name")
    show_full_result_count = False

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Hide the changes, which may be addresses, from members who may not see those."""
        sees_addresses = allowed(member_of(request), EVERYWHERE, Permission.ACCESS_USER_INFORMATION)
        return () if sees_addresses else ("before", "after")
