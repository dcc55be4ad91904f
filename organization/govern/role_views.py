"""Organization roles: list, a role's matrix of permissions, create, edit, duplicate and delete."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from organization.access import EVERYWHERE, allowed, require
from organization.exceptions import MoreThanHeld
from organization.forms import add_refusal
from organization.govern.forms import RoleForm, matrix_of
from organization.govern.rights import holds_role, may_change_role, require_role_held
from organization.govern.services import delete_role, require_second_factor, save_role
from organization.keyset import row_number
from organization.models import Member, Role
from organization.permissions import Permission
from organization.web.http import MemberRequest, search_words

PAGE = 50
_NAMED = 20  # so many members of a role are named on its page


@require_safe
def roles(request: MemberRequest) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.VIEW_MEMBERS)
    query = search_words(request.GET, "q")
    matches = Role.objects.prefetch_related("stages").annotate(members=Count("grants__member", distinct=True))
    if query:
        matches = matches.filter(name__icontains=query)
    page = Paginator(matches.order_by("-built_in", "name"), PAGE).get_page(request.GET.get("page"))
    context = {"page": page, "query": query, "can_manage": _may_manage(request)}
    return render(request, "organization/govern/roles.html", context)


@require_safe
def role(request: MemberRequest, role_id: int) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.VIEW_MEMBERS)
    instance = get_object_or_404(Role, pk=role_id)
    holders = Member.objects.filter(role_grants__role=instance).distinct()
    context = {
        "role": instance,
        "stages": list(instance.stages.all()),
        "matrix": matrix_of(instance.permissions, request.user),
        "holders": holders[:_NAMED],
        "holder_count": holders.count(),
        "can_manage": _may_manage(request),
        "may_edit": _may_manage(request) and may_change_role(request.user, instance),
        "may_require": _may_manage(request) and holds_role(request.user, instance),
    }
    return render(request, "organization/govern/role.html", context)


@require_POST
def second_factor(request: MemberRequest, role_id: int) -> HttpResponse:
    """Require a second factor of the role's members, or no longer."""
    require(request.user, EVERYWHERE, Permission.MANAGE_ROLES)
    instance = get_object_or_404(Role, pk=role_id)
    required = request.POST.get("required") == "yes"
    require_second_factor(instance, request.user, required=required)
    words = "need a second factor from their next page on" if required else "no longer need a second factor for it"
    messages.success(request, f"Members with the role {instance} {words}.")
    return redirect("role", instance.pk)


@require_http_methods(["GET", "POST"])
def create(request: MemberRequest) -> HttpResponse:
    """A new role, which may begin as a copy of another one (`?from=`)."""
    require(request.user, EVERYWHERE, Permission.MANAGE_ROLES)
    original = Role.objects.filter(pk=row_number(request.GET, "from") or 0).first()
    copy = Role(requires_second_factor=original.requires_second_factor) if original else Role()
    return _edit(request, copy, original)


@require_http_methods(["GET", "POST"])
def edit(request: MemberRequest, role_id: int) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.MANAGE_ROLES)
    instance = get_object_or_404(Role, pk=role_id)
    if instance.built_in:
        messages.warning(request, f"The built-in role {instance} can't be edited. Duplicate it under another name.")
        return redirect("role", instance.pk)
    require_role_held(request.user, instance.permissions, instance.stages.all())
    return _edit(request, instance, None)


def _edit(request: MemberRequest, instance: Role, original: Role | None) -> HttpResponse:
    form = RoleForm(request.POST or None, instance=instance, initial=_copy_of(original, request) if original else None)
    stored = Role.objects.filter(pk=instance.pk).first()  # the stored values, because the form changes its own instance
    if request.method == "POST" and form.is_valid():
        try:
            save_role(form.instance, form.cleaned_data["stages"], request.user)
        except ValidationError as error:
            add_refusal(form, error)
        except MoreThanHeld as error:
            form.add_error("permissions", str(error))
        else:
            messages.success(request, f"The role {form.instance} was saved.")
            return redirect("role", form.instance.pk)
    context = {
        "form": form,
        "matrix": form.matrix(request.user),
        "role": stored,
        "original": original,
        "holder_count": Member.objects.filter(role_grants__role=stored).distinct().count() if stored else 0,
    }
    return render(request, "organization/govern/role_form.html", context, status=422 if form.errors else 200)


def _copy_of(original: Role, request: MemberRequest) -> dict[str, object]:
    """Without what the one who copies doesn't hold."""
    held = [item.value for item in original.known_permissions if request.user.has_perm_anywhere(item.path)]
    return {"name": f"{original.name[:54]} copy", "permissions": held, "stages": list(original.stages.all())}


@require_http_methods(["GET", "POST"])
def delete(request: MemberRequest, role_id: int) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.MANAGE_ROLES)
    instance = get_object_or_404(Role, pk=role_id)
    error = ""
    if request.method == "POST":
        try:
            delete_role(instance, request.user)
        except ValidationError as refused:
            error = " ".join(refused.messages)
        else:
            messages.success(request, f"The role {instance} was deleted.")
            return redirect("roles")
    context = {"role": instance, "error": error, "is_granted": instance.grants.exists()}
    return render(request, "organization/govern/confirm_role_delete.html", context, status=422 if error else 200)


def _may_manage(request: MemberRequest) -> bool:
    return allowed(request.user, EVERYWHERE, Permission.MANAGE_ROLES)
