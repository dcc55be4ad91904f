"""Django admin as another entry point.

The portal's permissions decide, the services save, and messages and audit trail are read-only.
"""

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
from organization.models import Member
from organization.permissions import Permission
from organization.web.http import is_row_number


def member_of(request: HttpRequest) -> Member:
    """The signed-in member. Django admin admits only members."""
    assert isinstance(request.user, Member)
    return request.user


class FiltersOnly(ChangeList):
    """A list that can be filtered only by its own filters and its search.

    Django would accept any field of the model with any lookup, such as `?password__regex=`.
    """

    def get_filters(self, request: HttpRequest) -> Any:
        filters = super().get_filters(request)
        unused = filters[2]  # parameters that no filter has used
        if unused:
            raise DisallowedModelAdminLookup(f"There is no filter for {', '.join(unused)}.")
        return filters


class PortalAdmin(admin.ModelAdmin[Any]):
    """An admin page with the same permissions as the portal's pages.

    Members with one of `permissions` over the whole organization may read, and those with one of `change_permissions` change,
    who are the same if none are named. Others get a 403, as on the pages.
    Subclasses implement `save_model` with the service that every other entry point uses.
    """

    permissions: ClassVar[tuple[Permission, ...]] = ()
    change_permissions: ClassVar[tuple[Permission, ...]] = ()
    list_per_page = 50  # Django takes more time for each row than for the rest of the page

    def has_module_permission(self, request: HttpRequest) -> bool:
        return isinstance(request.user, Member) and request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request) and allowed(member_of(request), EVERYWHERE, *self.permissions)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may_change = not self.change_permissions or allowed(member_of(request), EVERYWHERE, *self.change_permissions)
        return self.has_view_permission(request, obj) and may_change

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FiltersOnly

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Answer 400 to a value that its filter can't use.

        Django would redirect to the list without filters.
        """
        try:
            return super().get_changelist_instance(request)
        except IncorrectLookupParameters as error:
            raise DisallowedModelAdminLookup("A filter can't be used with this value.") from error

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return _say_refusals(request, lambda: super(PortalAdmin, self).changelist_view(request, *args, **kwargs))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The object, or None if no database can store its id.

        Django admin writes NUL in an id as `_00` in its URLs.
        """
        return super().get_object(request, object_id, from_field) if is_storable(object_id) else None

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        """Refuse ids that can't be row numbers.

        Django would send any text to the database.
        """
        if not all(map(is_row_number, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise BadRequest("The selected ids are not row numbers.")
        return super().response_action(request, queryset, *args, **kwargs)

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return _say_refusals(request, lambda: super(PortalAdmin, self).changeform_view(request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return _say_refusals(request, lambda: super(PortalAdmin, self).delete_view(request, *args, **kwargs))


def _say_refusals(request: HttpRequest, view: Callable[[], Any]) -> Any:
    """Show an error of the service on the same page.

    A service can refuse a valid form, because another member saved meanwhile.
    """
    try:
        return view()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect(request.get_full_path())


class PlaceAdmin(PortalAdmin):
    """An admin page for a model with an app or a stage.

    Every member may read it, as on the pages. A grant over that app or stage is enough to change it.
    """

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not self.has_module_permission(request):
            return False
        if obj is None:
            return any(member_of(request).has_perm_anywhere(permission.path) for permission in self.permissions)
        return allowed(member_of(request), audit.scope_of(obj), *self.permissions)


class ReadOnlyAdmin(PortalAdmin):
    """An admin page for a model that only the portal itself writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FirstPages(Paginator[Any]):
    """A paginator for only the first rows, which doesn't count the others.

    Use filters to find older rows.
    """

    ROWS = 10_000

    @cached_property
    def count(self) -> int:
        """The number of rows in all pages."""
        rows = cast(QuerySet[Any], self.object_list)
        return rows[: self.ROWS].count()


class LogAdmin(ReadOnlyAdmin):
    """An admin page for messages and other logs.

    It is for members who may read all logs and addresses. It never counts millions of rows.
    """

    show_full_result_count = False
    paginator = FirstPages

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        needed = [Permission.ACCESS_ASSET_LOGS.path, Permission.ACCESS_USER_INFORMATION.path]
        return self.has_module_permission(request) and request.user.has_perms(needed)

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        return {**super().get_model_perms(request), "view": self.has_view_permission(request)}
