"""Members whose role requires a second factor set one up before any other page opens, also if they are signed in already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from accounts.second_factor.factors import must_set_one_up
from organization.govern.view_as import end_view
from organization.models import Member

# Signing in is open to everyone anyway.
_OPEN = frozenset({"second-factor", "second-factor-confirm", "authenticator-app", "passkey-add", "logout"})

WANTED = "page_before_second_factor"  # in the session: where the member was going


class SecondFactorGate:
    """A middleware, asked at each page, so that a role given meanwhile counts from the next one on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: object, args: Any, kwargs: Any) -> HttpResponse | None:
        member, match = request.user, request.resolver_match
        if not isinstance(member, Member) or match is None or not getattr(view, "login_required", True):
            return None
        if (match.url_name in _OPEN and not match.namespace) or not must_set_one_up(member.viewer or member):
            return None
        end_view(request)
        if request.method == "GET":
            request.session[WANTED] = request.get_full_path()
        url = reverse("second-factor")
        return HttpResponseClientRedirect(url) if request.headers.get("HX-Request") else redirect(url)
