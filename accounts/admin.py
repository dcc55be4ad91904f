"""Accounts in Django admin: members, and what is stored for them.

To add a member is to invite them, as on the pages. Sessions and identities can be removed, through the services of the pages.
Second factors can only be looked at: they are removed on the member's page.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts.invitations.services import invite
from accounts.invitations.views import answer_sent
from accounts.links import AccountLink
from accounts.own_mail.contents import OwnMessage
from accounts.passwords.reset import ResetRequest
from accounts.reminders.sending import Reminder
from accounts.second_factor.models import AuthenticatorApp, Passkey, RecoveryCode
from accounts.sessions.models import MemberSession
from accounts.sessions.services import end_session
from accounts.single_sign_on.linking import unlink
from accounts.single_sign_on.models import Identity
from organization.access import EVERYWHERE, allowed
from organization.admin_base import PortalAdmin, ReadOnlyAdmin, member_of
from organization.govern.forms import MemberForm
from organization.members import may_edit, save_member
from organization.models import Member
from organization.permissions import Permission


class MemberAdminForm(MemberForm):
    class Meta(MemberForm.Meta):
        fields = ("email", "name", "is_active", "is_staff", "theme", "time_zone")  # type: ignore[assignment]


@admin.register(Member)
class MemberAdmin(PortalAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    change_permissions = (Permission.MANAGE_MEMBERS,)
    form = MemberAdminForm
    fields = ("email", "complete", "name", "is_active", "is_staff", "theme", "time_zone", "version")
    exclude = ("version",)  # the model's field, which can't be edited; the form has its own field of this name
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    search_fields = ("email", "name")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or may_edit(member_of(request), obj))

    def save_model(self, request: HttpRequest, obj: Member, form: Any, change: bool) -> None:
        if change:
            save_member(obj, member_of(request))
        else:
            request.sent_link = invite(obj, member_of(request))  # type: ignore[attr-defined]  # for response_add

    def response_add(self, request: HttpRequest, obj: Member, post_url_continue: str | None = None) -> HttpResponse:
        return answer_sent(request, request.sent_link)  # type: ignore[attr-defined]


@admin.register(AccountLink)
class AccountLinkAdmin(ReadOnlyAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    list_display = ("member", "purpose", "created", "ends", "used")
    list_select_related = ("member",)
    exclude = ("token_hash", "account_state")


@admin.register(OwnMessage)
class OwnMessageAdmin(ReadOnlyAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    raw_id_fields = ("message",)


@admin.register(ResetRequest)
class ResetRequestAdmin(ReadOnlyAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    list_display = ("address", "created")


@admin.register(Reminder)
class ReminderAdmin(ReadOnlyAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    list_display = ("kind", "number", "ends", "sent")


class OfMemberAdmin(ReadOnlyAdmin):
    """For what belongs to a member: those may remove it who may edit the member."""

    permissions = (Permission.VIEW_MEMBERS,)
    list_select_related = ("member",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        manages = self.has_view_permission(request) and allowed(member_of(request), EVERYWHERE, Permission.MANAGE_MEMBERS)
        return manages and (obj is None or may_edit(member_of(request), obj.member))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():  # all of them, or a 403 and none
            for instance in queryset.select_related("member"):
                self.delete_model(request, instance)


@admin.register(MemberSession)
class MemberSessionAdmin(OfMemberAdmin):
    list_display = ("member", "device", "address", "started", "last_used")
    exclude = ("auth_digest",)

    def delete_model(self, request: HttpRequest, obj: MemberSession) -> None:
        end_session(obj, member_of(request))


@admin.register(Identity)
class IdentityAdmin(OfMemberAdmin):
    list_display = ("member", "subject", "issuer", "created")

    def delete_model(self, request: HttpRequest, obj: Identity) -> None:
        unlink(obj, member_of(request))


class FactorAdmin(ReadOnlyAdmin):
    permissions = (Permission.VIEW_MEMBERS,)
    list_select_related = ("member",)


@admin.register(AuthenticatorApp)
class AuthenticatorAppAdmin(FactorAdmin):
    list_display = ("member", "created", "last_used")
    exclude = ("secret", "last_step")


@admin.register(Passkey)
class PasskeyAdmin(FactorAdmin):
    list_display = ("member", "label", "created", "last_used")
    exclude = ("credential",)


@admin.register(RecoveryCode)
class RecoveryCodeAdmin(FactorAdmin):
    list_display = ("member", "created", "used")
    exclude = ("secret_hash",)
