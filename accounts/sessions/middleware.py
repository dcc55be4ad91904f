"""End sessions that were ended elsewhere, or that last too long."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse

from accounts.sessions.services import is_open
from organization.models import Member


class SessionLifeMiddleware:
    """Treat the request of a session that is over as one of a visitor who isn't signed in.

    From here on `request.user` is the member, and not Django's lazy object. A page looks at it hundreds of times.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.user = get_user(request)
        if isinstance(request.user, Member) and not is_open(request, request.user):
            request.session.flush()
            request.user = AnonymousUser()
        return self.get_response(request)
