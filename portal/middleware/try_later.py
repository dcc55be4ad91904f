"""Say when to try again, if a password or code isn't checked now. No thread waits for that."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from organization.exceptions import TryLater


class TryLaterMiddleware:
    """Answers 429 or 503 with Retry-After, and a page that names the wait."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, TryLater):
            return None
        context = {
            "status": exception.status,
            "reason": exception,
            "wait": in_words(exception.retry_after),
            "url": request.get_full_path(),
        }
        page = render(None, "try_later.html", context, status=exception.status)  # no request: its context asks the database
        page["Retry-After"] = str(exception.retry_after)
        return page


def in_words(seconds: int) -> str:
    """A wait, never shorter than it is."""
    if seconds < 60:
        return _count(seconds, "second")
    return _count(-(-seconds // 60), "minute")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
