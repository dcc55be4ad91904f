"""Sign in at the provider, come back, and link the identity to a member where it isn't yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.utils.functional import cached_property
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.exceptions import SingleSignOnRefused
from accounts.sign_in.completion import after_first_factor
from accounts.sign_in.views import SignIn
from accounts.single_sign_on import client
from accounts.single_sign_on.config import Provider, provider
from accounts.single_sign_on.group_grants import follow_groups
from accounts.single_sign_on.linking import link, linked_member, member_to_link, needs_password
from organization.models import Member

_NEXT = "single_sign_on_next"
_TO_LINK = "single_sign_on_to_link"
_LINK_SECONDS = 600

View = Callable[[HttpRequest], HttpResponseBase]


@dataclass(frozen=True)
class _ToLink:
    """An identity that waits for its member's password, in the session of the browser that came back with it."""

    issuer: str
    subject: str
    groups: list[str]
    member_id: int
    until: float


def _explaining_refusals(view: View) -> View:
    @wraps(view)
    def explaining(request: HttpRequest) -> HttpResponseBase:
        try:
            return view(request)
        except SingleSignOnRefused as refusal:
            context = {"heading": refusal.heading, "text": str(refusal)}
            return render(request, "accounts/single_sign_on_refused.html", context, status=refusal.status)

    return explaining


@login_not_required
@never_cache
@require_safe
@_explaining_refusals
def start(request: HttpRequest) -> HttpResponse:
    """Lead to the provider."""
    answer = client.lead_to(_provider_or_404(), request)
    request.session[_NEXT] = request.GET.get("next", "")
    return answer


@login_not_required
@never_cache
@require_safe
@_explaining_refusals
def callback(request: HttpRequest) -> HttpResponse:
    """The browser comes back from the provider."""
    person = client.person_of(_provider_or_404(), request)
    if member := linked_member(person):
        return _sign_in(request, member, person.groups)
    member = member_to_link(person, request.user)
    if needs_password(member):
        until = time.time() + _LINK_SECONDS
        request.session[_TO_LINK] = asdict(_ToLink(person.issuer, person.subject, sorted(person.groups), member.pk, until))
        return redirect("single-sign-on-link")
    link(person.issuer, person.subject, member, member)
    return _sign_in(request, member, person.groups)


@login_not_required
@require_http_methods(["GET", "POST"])
@_explaining_refusals
def link_with_password(request: HttpRequest) -> HttpResponseBase:
    """Ask the member for the password, once."""
    to_link = _ToLink(**request.session[_TO_LINK]) if _TO_LINK in request.session else None
    if to_link is None or to_link.until < time.time():
        return redirect("login")
    return LinkIdentity.as_view(to_link=to_link)(request)


class LinkIdentity(SignIn):
    """Sign in with the password of one member, and link the identity to them."""

    template_name = "accounts/link_identity.html"
    to_link: Any = None

    @cached_property
    def member(self) -> Member:
        """Whose password is asked for."""
        return Member.objects.get(pk=self.to_link.member_id)

    def get_form_kwargs(self) -> dict[str, Any]:
        """The username is the member's, whatever the form says."""
        kwargs = super().get_form_kwargs()
        if "data" in kwargs:
            kwargs["data"] = {**kwargs["data"].dict(), "username": self.member.email}
        return kwargs

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(member=self.member, label=_provider_or_404().label, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        member = form.get_user()
        assert isinstance(member, Member)
        link(self.to_link.issuer, self.to_link.subject, member, member)
        del self.request.session[_TO_LINK]
        return _sign_in(self.request, member, frozenset(self.to_link.groups))


def _provider_or_404() -> Provider:
    known = provider()
    if known is None:
        raise Http404("Single sign-on isn't set up.")
    return known


def _sign_in(request: HttpRequest, member: Member, groups: frozenset[str]) -> HttpResponse:
    follow_groups(member, groups)
    return after_first_factor(request, member, _next_url(request), how="single sign-on")


def _next_url(request: HttpRequest) -> str:
    """Where the member wanted to go, if that is a page of the portal."""
    url = str(request.session.pop(_NEXT, ""))
    if url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure()):
        return url
    return resolve_url("home")
