"""End sessions that were ended elsewhere, or that last too long."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse

from accounts.sessions.services import is_open
from organization.models import Member


class SessionLifeMiddleware:
    """Treat the request of a session that is over as one of a visitor who isn't signed in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        member = request.user
        if isinstance(member, Member) and not is_open(request, member):
            request.session.flush()
            request.user = AnonymousUser()
        return self.get_response(request)
