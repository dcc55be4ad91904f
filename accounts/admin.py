"""Sessions and identities in Django admin. Both can be removed, through the services of the pages."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.sessions.models import MemberSession
from accounts.sessions.services import end_session
from accounts.single_sign_on.linking import unlink
from accounts.single_sign_on.models import Identity
from organization.access import EVERYWHERE, allowed
from organization.admin_base import ReadOnlyAdmin, member_of
from organization.members import may_edit
from organization.permissions import Permission


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
