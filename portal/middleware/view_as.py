"""Show the portal as another member sees it (organization/govern/view_as.py): some pages, to look at only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from organization.govern.view_as import is_viewing, viewed_member
from organization.models import Member

# Without exports, downloads, sources, forms, profile, inbox (which remembers what was read) and Django admin.
_SHOWN = frozenset(
    {
        *("home", "help", "help-search", "help-picture", "apps", "app", "app-emails"),
        *("email-configurations", "email-configuration", "kept-headers", "recipient-policy", "policy-effect", "stages"),
        *("members", "member", "roles", "role", "audit-trail", "audit-trail-apps"),
        *("email-log", "email-log-apps", "email-log-new", "email-log-message", "analytics"),
    }
)
# These end the view, so that the viewer acts.
_OF_THE_VIEWER = frozenset({"view-as-end", "logout"})


class ViewAsMiddleware:
    """Replace the request's member by the viewed one, who has the viewer's limits too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        viewer = request.user
        if not viewer.is_authenticated or not is_viewing(request):
            return self.get_response(request)
        if (member := viewed_member(request)) is None:
            messages.info(request, "You no longer view the portal as another member.")
            return self.get_response(request)
        request.user = member
        try:
            return self.get_response(request)
        finally:
            request.user = viewer

    def process_view(self, request: HttpRequest, view: object, args: Any, kwargs: Any) -> None:
        member, match = request.user, request.resolver_match
        if not isinstance(member, Member) or member.viewer is None or match is None:
            return
        if match.url_name in _OF_THE_VIEWER and not match.namespace:
            request.user = member.viewer
        elif request.method not in ("GET", "HEAD") or match.namespace or match.url_name not in _SHOWN:
            raise PermissionDenied(
                f"You view the portal as {member.name}. This view doesn't show this page, and nothing can be changed."
            )
