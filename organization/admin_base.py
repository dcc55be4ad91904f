"""Django admin as one more door: the portal's permissions decide, the services save, mail and audit trail are read-only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.views.decorators.debug import sensitive_post_parameters

from common.text import is_storable
from organization import audit
from organization.access import EVERYWHERE, allowed
from organization.http import is_row_number
from organization.models import Member
from organization.permissions import Permission


def member_of(request: HttpRequest) -> Member:
    """Who is signed in. Django admin lets nobody else in."""
    assert isinstance(request.user, Member)
    return request.user


class FiltersOnly(ChangeList):
    """A list that can be narrowed by its filters and its search, and by nothing else.

    Django would take any field of the model with any lookup, such as `?password__regex=`.
    """

    def get_filters(self, request: HttpRequest) -> Any:
        filters = super().get_filters(request)
        unused = filters[2]  # what no filter has taken
        if unused:
            raise DisallowedModelAdminLookup(f"There is no filter for {', '.join(unused)}.")
        return filters


class PortalAdmin(admin.ModelAdmin[Any]):
    """The portal's pages decide: who gets a 403 there gets one here.

    Who holds one of `permissions` over the whole organization may read and change. Subclasses implement `save_model` with the
    service that every other door uses too.
    """

    permissions: ClassVar[tuple[Permission, ...]] = (Permission.MANAGE_ORGANIZATION,)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return isinstance(request.user, Member) and request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request) and allowed(member_of(request), EVERYWHERE, *self.permissions)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FiltersOnly

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """A value that its filter can't take is a 400. Django would lead to the list without filters."""
        try:
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters as error:
            raise DisallowedModelAdminLookup("A filter can't be used with this value.") from error

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return _say_refusals(request, lambda: super(PortalAdmin, self).changelist_view(request, *args, **kwargs))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Nothing is called by a name that no database stores. Django admin writes such a one as `_00` in its addresses."""
        return super().get_object(request, object_id, from_field) if is_storable(object_id) else None

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        """Django asks the database for whatever was sent in place of the numbers of rows."""
        if not all(map(is_row_number, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise BadRequest("What was chosen are no rows.")
        return super().response_action(request, queryset, *args, **kwargs)

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return _say_refusals(request, lambda: super(PortalAdmin, self).changeform_view(request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return _say_refusals(request, lambda: super(PortalAdmin, self).delete_view(request, *args, **kwargs))


def _say_refusals(request: HttpRequest, view: Callable[[], Any]) -> Any:
    """What a service refuses after the form was valid (somebody else saved meanwhile) is said on the same page."""
    try:
        return view()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect(request.get_full_path())


class PlaceAdmin(PortalAdmin):
    """For what has an app or a stage. Every member reads it, as on the pages; a grant over that place is enough to change it."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not self.has_module_permission(request):
            return False
        if obj is None:
            return any(member_of(request).has_perm_anywhere(permission.path) for permission in self.permissions)
        return allowed(member_of(request), audit.scope_of(obj), *self.permissions)


class ReadOnlyAdmin(PortalAdmin):
    """For what only the portal itself writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FirstPages(Paginator[Any]):
    """Pages through the first rows alone, and counts no others: further back lead filters."""

    ROWS = 10_000

    @cached_property
    def count(self) -> int:
        """How many rows can be paged through."""
        rows = cast(QuerySet[Any], self.object_list)
        return rows[: self.ROWS].count()


class LogAdmin(ReadOnlyAdmin):
    """For mail: shown to those who may read the logs of everything, addresses too; never with a count over millions of rows."""

    show_full_result_count = False
    paginator = FirstPages

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        needed = [Permission.ACCESS_ASSET_LOGS.path, Permission.ACCESS_USER_INFORMATION.path]
        return self.has_module_permission(request) and request.user.has_perms(needed)

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {**super().get_model_perms(request), "view": self.has_view_permission(request)}
