"""Members: list, a member's rights and why, edit, deactivate, give and revoke roles. They are added by an invitation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from organization.access import EVERYWHERE, allowed, require
from organization.exceptions import MoreThanHeld
from organization.forms import add_refusal
from organization.govern.forms import GiveRoleForm, MemberForm
from organization.govern.preview import GrantPreview, preview_grant, rights_lost_without
from organization.govern.rights import extent_of_grant, not_held, rights_of
from organization.govern.services import give_role, revoke_grant
from organization.govern.view_as import end_view, may_view_as, start_view
from organization.keyset import row_number
from organization.members import may_edit, require_may_edit, save_member
from organization.models import Member, Role, RoleGrant
from organization.permissions import Permission
from organization.web.http import MemberRequest, search_words

PAGE = 50
STATES = (("active", "Active"), ("invited", "Invited"), ("deactivated", "Deactivated"))


@require_safe
def members(request: MemberRequest) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.VIEW_MEMBERS)
    page = Paginator(_filtered(request.GET), PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "query": search_words(request.GET, "q"),
        "states": STATES,
        "state": request.GET.get("state", ""),
        "roles": Role.objects.all(),
        "role": row_number(request.GET, "role"),
        "filtered": any(request.GET.get(name) for name in ("q", "state", "role")),
        "can_manage": _may_manage(request),
    }
    return render(request, "organization/govern/members.html", context)


def _filtered(data: QueryDict) -> QuerySet[Member]:
    grants = RoleGrant.objects.select_related("role", "app").prefetch_related("stages").order_by("role__name", "app__name")
    matches = Member.objects.order_by("name", "email", "pk").prefetch_related(Prefetch("role_grants", grants))
    if words := search_words(data, "q"):
        matches = matches.filter(Q(name__icontains=words) | Q(email__icontains=words))
    if state := data.get("state"):
        matches = _in_state(matches, state)
    if data.get("role"):
        matches = matches.filter(pk__in=RoleGrant.objects.filter(role=row_number(data, "role")).values("member"))
    return matches


def _in_state(members: QuerySet[Member], state: str) -> QuerySet[Member]:
    """As the badges say it (see Member.is_invited)."""
    if state == "deactivated":
        return members.filter(is_active=False)
    invited = Q(last_login=None, password__startswith=UNUSABLE_PASSWORD_PREFIX)
    conditions = {"active": ~invited, "invited": invited}
    return members.filter(conditions[state], is_active=True) if state in conditions else members.none()


@require_safe
def member(request: MemberRequest, member_id: int) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.VIEW_MEMBERS)
    return _page(request, get_object_or_404(Member, pk=member_id))


@require_POST
def give(request: MemberRequest, member_id: int) -> HttpResponse:
    """Give the member a role. Without JavaScript, *Preview* shows what it would add."""
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    person = get_object_or_404(Member, pk=member_id)
    form = GiveRoleForm(request.POST, _roles_to_give(request))
    if "preview" in request.POST or not form.is_valid():
        return _page(request, person, form)
    try:
        grant = give_role(person, form.cleaned_data["role"], form.cleaned_data["app"], form.cleaned_data["stages"], request.user)
    except (ValidationError, MoreThanHeld) as error:
        _refuse(form, error)
        return _page(request, person, form)
    messages.success(request, f"{person.name} has the role {grant.role} for {extent_of_grant(grant)}.")
    return redirect("member", person.pk)


@require_safe
def preview(request: MemberRequest, member_id: int) -> HttpResponse:
    """What the role in the form would add, as a part of the page."""
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    person = get_object_or_404(Member, pk=member_id)
    form = GiveRoleForm(request.GET, _roles_to_give(request))
    context = {"member": person, "preview": _preview(request, person, form)}
    return render(request, "organization/govern/_grant_preview.html", context)


@require_http_methods(["GET", "POST"])
def revoke(request: MemberRequest, member_id: int, grant_id: int) -> HttpResponse:
    """Say what the member loses, ask for confirmation, and revoke."""
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    grant = get_object_or_404(RoleGrant.objects.select_related("member", "role", "app"), pk=grant_id, member__pk=member_id)
    error = ""
    if request.method == "POST":
        try:
            revoke_grant(grant, request.user)
        except ValidationError as refused:
            error = " ".join(refused.messages)
        else:
            messages.success(request, f"The role {grant.role} was taken away from {grant.member.name}.")
            return redirect("member", member_id)
    context = {
        "grant": grant,
        "member": grant.member,
        "extent": extent_of_grant(grant),
        "lost": rights_lost_without(grant),
        "error": error,
    }
    return render(request, "organization/govern/confirm_revoke.html", context, status=422 if error else 200)


@require_http_methods(["GET", "POST"])
def edit(request: MemberRequest, member_id: int) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    stored = get_object_or_404(Member, pk=member_id)
    require_may_edit(request.user, stored)
    instance = Member.objects.get(pk=stored.pk)  # the page shows the stored values, and the form changes its own instance
    form = MemberForm(request.POST or None, instance=instance, editor=request.user)
    if request.method == "POST" and form.is_valid():
        try:
            saved = save_member(form.instance, request.user)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, f"{saved.name} was saved.")
            return redirect("member", saved.pk)
    context = {"form": form, "member": stored}
    return render(request, "organization/govern/member_form.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def deactivate(request: MemberRequest, member_id: int) -> HttpResponse:
    """Say what it means, ask for confirmation, and deactivate."""
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    person = get_object_or_404(Member, pk=member_id)
    require_may_edit(request.user, person)
    error = _set_active(request, person, active=False) if request.method == "POST" else ""
    if request.method == "POST" and not error:
        messages.success(request, f"{person.name} was deactivated and is signed out everywhere.")
        return redirect("member", member_id)
    context = {"member": person, "error": error}
    return render(request, "organization/govern/confirm_deactivate.html", context, status=422 if error else 200)


@require_POST
def activate(request: MemberRequest, member_id: int) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    person = get_object_or_404(Member, pk=member_id)
    if error := _set_active(request, person, active=True):
        messages.error(request, error)
    else:
        messages.success(request, f"{person.name} can sign in again.")
    return redirect("member", member_id)


def _set_active(request: MemberRequest, changed: Member, *, active: bool) -> str:
    """Return why it is refused; empty if it was done."""
    changed.is_active = active
    try:
        save_member(changed, request.user)
    except ValidationError as error:
        changed.is_active = not active
        return " ".join(error.messages)
    return ""


@require_POST
def view_as(request: MemberRequest, member_id: int) -> HttpResponse:
    """Show the portal as this member sees it."""
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    start_view(request, get_object_or_404(Member, pk=member_id))
    return redirect("home")


@require_POST
def end_view_as(request: MemberRequest) -> HttpResponse:
    person = end_view(request)
    return redirect("member", person.pk) if person else redirect("home")


@dataclass(frozen=True)
class _ShownGrant:
    """A grant with what the page says of it."""

    grant: RoleGrant
    where: str
    may_revoke: bool


def _page(request: MemberRequest, person: Member, form: GiveRoleForm | None = None) -> HttpResponse:
    """The member's page, with the form for a role where the one who looks may give one."""
    can_manage = _may_manage(request)
    grants = [_shown_grant(request, grant, can_manage=can_manage) for grant in sorted(person.grants, key=_by_role)]
    if can_manage and form is None:
        form = GiveRoleForm(None, _roles_to_give(request))
    context: dict[str, Any] = {
        "member": person,
        "for_all_apps": [item for item in grants if item.grant.app is None],
        "for_some_apps": [item for item in grants if item.grant.app is not None],
        "rights": rights_of(item.grant for item in grants),
        "can_manage": can_manage,
        "may_view_as": may_view_as(request.user, person),
        "may_edit": can_manage and may_edit(request.user, person),
        "form": form,
        "preview": _preview(request, person, form) if form is not None and form.is_bound else None,
    }
    is_bad = form is not None and form.is_bound and form.errors and "preview" not in request.POST
    return render(request, "organization/govern/member.html", context, status=422 if is_bad else 200)


def _by_role(grant: RoleGrant) -> tuple[str, str]:
    return grant.role.name, grant.app.name if grant.app else ""


def _shown_grant(request: MemberRequest, grant: RoleGrant, *, can_manage: bool) -> _ShownGrant:
    extent = extent_of_grant(grant)
    held = can_manage and not not_held(request.user, grant.role.known_permissions, extent.scopes)
    return _ShownGrant(grant, str(extent), held)


def _roles_to_give(request: MemberRequest) -> list[Role]:
    """Roles of which the one who looks holds everything, at least somewhere."""
    return [role for role in Role.objects.all() if all(map(request.user.has_perm_anywhere, role.known_permissions))]


def _preview(request: MemberRequest, person: Member, form: GiveRoleForm) -> GrantPreview | None:
    """None while no role is chosen, or the form has errors."""
    if not form.is_valid():
        return None
    typed = form.cleaned_data
    return preview_grant(person, typed["role"], typed["app"], list(typed["stages"]), request.user)


def _may_manage(request: MemberRequest) -> bool:
    return allowed(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)


def _refuse(form: GiveRoleForm, error: ValidationError | MoreThanHeld) -> None:
    if isinstance(error, ValidationError):
        add_refusal(form, error)
    else:
        form.add_error("role", str(error))
