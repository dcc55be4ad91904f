"""Invite a member, send a member another link, and the page that an invitation leads to."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from accounts.invitations.services import invite, purpose_for, send_new_link
from accounts.links import Purpose
from accounts.own_mail.sending import why_no_email
from accounts.passwords.link_page import answer_link
from accounts.sent_links import SentLink
from common.clock import database_now
from organization.access import EVERYWHERE, require
from organization.forms import add_refusal
from organization.govern.forms import MemberForm
from organization.members import require_may_edit
from organization.models import Member
from organization.permissions import Permission
from organization.web.http import MemberRequest


@require_http_methods(["GET", "POST"])
@sensitive_variables("sent")
def new_member(request: MemberRequest) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    form = MemberForm(request.POST or None, instance=Member(), editor=request.user)
    if request.method == "POST" and form.is_valid():
        try:
            sent = invite(form.instance, request.user)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            return answer_sent(request, sent)
    context = {"form": form, "why_no_email": why_no_email()}
    return render(request, "accounts/invite.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@sensitive_variables("sent")
def member_link(request: MemberRequest, member_id: int) -> HttpResponse:
    """Say what the link is for and what became of the last one, ask for confirmation, and send it."""
    require(request.user, EVERYWHERE, Permission.MANAGE_MEMBERS)
    member = get_object_or_404(Member, pk=member_id)
    require_may_edit(request.user, member)
    error = ""
    if request.method == "POST":
        try:
            sent = send_new_link(member, request.user)
        except ValidationError as refused:
            error = " ".join(refused.messages)
        else:
            return answer_sent(request, sent)
    last = member.account_links.first()
    context = {
        "member": member,
        "is_invitation": purpose_for(member) == Purpose.INVITATION,
        "last": last,
        "last_works": last is not None and last.works(member, database_now()),
        "why_no_email": why_no_email(),
        "error": error,
    }
    return render(request, "accounts/confirm_link.html", context, status=422 if error else 200)


@sensitive_variables("sent")
def answer_sent(request: HttpRequest, sent: SentLink) -> HttpResponse:
    """Lead to the member's page; or show the link once. It is the answer itself, so that it is stored nowhere."""
    if sent.url:
        return render(request, "accounts/link_made.html", {"sent": sent, "is_invitation": sent.purpose == Purpose.INVITATION})
    what = "invitation" if sent.purpose == Purpose.INVITATION else "link for a new password"
    messages.success(request, f"An email with the {what} is on its way to {sent.member.email}.")
    return redirect("member", sent.member.pk)


@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@sensitive_post_parameters()
@sensitive_variables("token")
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    return answer_link(request, Purpose.INVITATION, token)
