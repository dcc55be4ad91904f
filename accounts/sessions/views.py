"""The sessions of the member who looks, or of one whom they manage."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.sessions.models import MemberSession
from accounts.sessions.services import current_id, end_session, sessions_of, sign_out_everywhere
from accounts.single_sign_on.config import provider
from accounts.single_sign_on.models import Identity
from organization.access import EVERYWHERE, require
from organization.members import require_may_edit
from organization.models import Member
from organization.permissions import Permission
from organization.web.http import MemberRequest


@dataclass(frozen=True)
class _ShownSession:
    session: MemberSession
    is_this_one: bool
    end_url: str


@require_safe
def sessions(request: MemberRequest, member_id: int | None = None) -> HttpResponse:
    member = _member(request, member_id)
    context = {
        "member": member,
        "is_own": member == request.user,
        "sessions": [_shown(request, row, member_id) for row in sessions_of(member)],
        "end_all_url": _url("end-all", member_id),
        "provider": provider(),
        "identities": Identity.objects.filter(member=member),
    }
    return render(request, "accounts/sessions.html", context)


@require_POST
def end(request: MemberRequest, session_id: int, member_id: int | None = None) -> HttpResponse:
    member = _member(request, member_id)
    row = get_object_or_404(MemberSession, pk=session_id, member=member)
    end_session(row, request.user)
    if session_id == current_id(request):
        return _signed_out(request)
    messages.success(request, f"The session with {row} was ended.")
    return redirect(_url("", member_id))


@require_POST
def end_all(request: MemberRequest, member_id: int | None = None) -> HttpResponse:
    member = _member(request, member_id)
    sign_out_everywhere(member, request.user)
    if member == request.user:
        return _signed_out(request)
    messages.success(request, f"{member.name} is signed out everywhere.")
    return redirect(_url("", member_id))


def _member(request: MemberRequest, member_id: int | None) -> Member:
    """The member who looks, or another one whom they may edit."""
    if member_id is None:
        return request.user
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    member = get_object_or_404(Member, pk=member_id)
    require_may_edit(request.user, member)
    return member


def _shown(request: MemberRequest, row: MemberSession, member_id: int | None) -> _ShownSession:
    return _ShownSession(row, row.pk == current_id(request), _url("end", member_id, row.pk))


def _url(act: str, member_id: int | None, *row_id: int) -> str:
    """The page of the sessions, or an act on it."""
    name = "-".join(part for part in ("sessions" if member_id is None else "member-sessions", act) if part)
    return reverse(name, args=[*([] if member_id is None else [member_id]), *row_id])


def _signed_out(request: MemberRequest) -> HttpResponse:
    logout(request)
    messages.success(request, "You are signed out.")
    return redirect("login")
