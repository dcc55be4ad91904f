"""Probes for load balancers and monitoring: is the process alive, and can the portal do its work?"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from common.outage import Outage
from portal import readiness
from portal.release import RELEASE
from portal.watch import Watch

_SAFE = ("GET", "HEAD")
watch = Watch(readiness.check, readiness.database_away(readiness.HANGS))
_outage = Outage("portal_not_ready", "portal_ready")


class ProbeMiddleware:
    """Answers probes before other middleware. They need no session, no allowed host name and no log line."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = {"/healthz": healthz, "/readyz": readyz}.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        answer = probe() if request.method in _SAFE else HttpResponseNotAllowed(_SAFE)
        answer._has_been_logged = True  # type: ignore[attr-defined]  # Django's own mark, because a 503 isn't an error of this process
        answer["Cache-Control"] = "no-store"
        return answer


def healthz() -> HttpResponse:
    """Return 200 as soon as the process answers."""
    return HttpResponse(f"ok {RELEASE}\n", content_type="text/plain")


def readyz() -> HttpResponse:
    """Return 200 if emails can be accepted and delivered, else 503 with the causes. It takes at most two seconds."""
    answer = watch.latest()
    if answer.ready:
        _outage.end()
    else:
        _outage.note(" ".join(answer.causes))
    body = {"ready": answer.ready, "release": RELEASE, "causes": answer.causes, "warnings": answer.warnings, **answer.facts}
    return JsonResponse(body, status=200 if answer.ready else 503)
