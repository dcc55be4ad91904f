"""Open a session for a member. Every way to sign in ends here."""

from __future__ import annotations

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.sign_in.factors import take_factors
from organization import audit
from organization.models import Member
from organization.throttle.networks import client_of

_BACKEND = "organization.backends.RoleGrantBackend"


def after_first_factor(request: HttpRequest, member: Member, next_url: str) -> HttpResponse:
    """Answer a member who has shown who they are: with a password, or through single sign-on."""
    return complete_sign_in(request, member, next_url)


def complete_sign_in(request: HttpRequest, member: Member, next_url: str) -> HttpResponse:
    """Open the session, and lead to the page that the member asked for. `next_url` was checked by the caller."""
    factors = take_factors(request)
    login(request, member, backend=_BACKEND)
    audit.record(member, audit.Operation.SIGN_IN, member, after={"how": factors, "address": client_of(request)})
    return redirect(next_url)
