"""Show the portal's own 404 page also with DEBUG, instead of Django's list of URL patterns."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


class NotFoundPageMiddleware:
    """Needed only with DEBUG. Without it, Django shows this page automatically."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        return render(request, "404.html", status=404) if response.status_code == 404 else response
