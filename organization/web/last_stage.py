"""The stage that a browser showed last.

Pages whose URL names no stage open in it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from organization.models import Stage

_COOKIE = "stage"
_A_YEAR = 365 * 24 * 60 * 60


class LastStageMiddleware:
    """Remember the stage of the last page in a cookie.

    It is a cookie because it belongs to the browser and not to the member.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        stage = request.resolver_match.kwargs.get("stage_key") if request.resolver_match else None
        if stage and request.method == "GET" and response.status_code == 200 and request.COOKIES.get(_COOKIE) != stage:
            response.set_cookie(_COOKIE, stage, max_age=_A_YEAR, secure=request.is_secure(), httponly=True, samesite="Lax")
        return response


def stage_to_start_in(request: HttpRequest) -> Stage | None:
    """The stage in which something new starts: the last one, but not a Production stage if there is another."""
    last = last_stage(request)
    if last is None or not last.is_production:
        return last
    others = Stage.objects.filter(archived=False).exclude(kind=Stage.Kind.PRODUCTION)
    return others.first() or last


def last_stage(request: HttpRequest) -> Stage | None:
    """The stage that was shown last, or else the first stage.

    It is None while there is no stage. Archived stages are left out.
    """
    stages = list(Stage.objects.filter(archived=False))
    last = [stage for stage in stages if stage.key == request.COOKIES.get(_COOKIE)]
    return next(iter(last + stages), None)
