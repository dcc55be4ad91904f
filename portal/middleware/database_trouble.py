"""Show a clear error page if the database is unavailable (503) or full (507), whatever part of a request noticed it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from common.sql import DatabaseTrouble, database_trouble


class DatabaseTroubleMiddleware:
    """Replaces the answer after a database error. A middleware sees only Django's answer; the signal brings the error."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        got_request_exception.connect(_note)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        trouble: DatabaseTrouble | None = getattr(request, "database_trouble", None)
        if trouble is None:
            return response
        page = render(None, f"{trouble.status}.html", status=trouble.status)  # no request, so no database
        page["Retry-After"] = "30"
        return page


def _note(request: HttpRequest | None = None, **_: Any) -> None:
    if request is not None and (trouble := database_trouble(sys.exc_info()[1])):
        request.database_trouble = trouble  # type: ignore[attr-defined]
