"""Open a session for a member. Every way to sign in ends here."""

from __future__ import annotations

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.second_factor.confirmation import mark_confirmed
from accounts.second_factor.factors import has_second_factor
from accounts.second_factor.pending import begin_pending
from organization import audit
from organization.models import Member
from organization.throttle.networks import client_of

_BACKEND = "organization.backends.RoleGrantBackend"


def after_first_factor(request: HttpRequest, member: Member, next_url: str, *, how: str) -> HttpResponse:
    """Answer a member who has shown who they are. `how` is “password” or “single sign-on”, for the audit trail."""
    if has_second_factor(member):
        begin_pending(request, member, next_url, how)
        return redirect("second-factor-challenge")
    return complete_sign_in(request, member, next_url, how=how)


def complete_sign_in(request: HttpRequest, member: Member, next_url: str, *, how: str) -> HttpResponse:
    """Open the session, and lead to the page that the member asked for. `next_url` was checked by the caller."""
    login(request, member, backend=_BACKEND)
    mark_confirmed(request)
    audit.record(member, audit.Operation.SIGN_IN, member, after={"how": how, "address": client_of(request)})
    return redirect(next_url)
