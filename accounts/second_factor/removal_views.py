"""Remove the factors of another member, who has lost them."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from accounts.second_factor.factors import factors_of, remove_all
from organization.access import EVERYWHERE, require
from organization.members import require_may_edit
from organization.models import Member
from organization.permissions import Permission
from organization.web.http import MemberRequest


@require_http_methods(["GET", "POST"])
def remove_of_member(request: MemberRequest, member_id: int) -> HttpResponse:
    """Say what it means, ask for confirmation, and remove."""
    require(request.user, EVERYWHERE, Permission.REMOVE_SECOND_FACTORS)
    member = get_object_or_404(Member, pk=member_id)
    require_may_edit(request.user, member)
    if member == request.user:
        return redirect("second-factor")
    error = ""
    if request.method == "POST":
        try:
            remove_all(member, request.user)
        except ValidationError as refused:
            error = " ".join(refused.messages)
        else:
            messages.success(request, f"{member.name} has no second factor now and is signed out everywhere.")
            return redirect("member", member_id)
    context = {"member": member, "factors": factors_of(member), "error": error}
    template = "accounts/second_factor/confirm_remove_of_member.html"
    return render(request, template, context, status=422 if error else 200)
