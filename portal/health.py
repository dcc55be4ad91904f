"""For load balancers and monitoring: does the process live, and is the portal able to do its work?"""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from outbox.models import Message, Status, Worker


@login_not_required
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as soon as the process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


@login_not_required
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers and a worker has reported lately; else 503. The body says which."""
    try:
        worker = Worker.objects.filter(seen__gt=timezone.now() - Worker.STALE_AFTER).exists()
        oldest = Message.objects.filter(status=Status.QUEUED).order_by("created").values_list("created", flat=True).first()
    except DatabaseError:
        return JsonResponse({"database": False}, status=503)
    age = (timezone.now() - oldest).total_seconds() if oldest else 0
    facts = {"database": True, "worker": worker, "oldest_queued_seconds": round(max(age, 0))}
    return JsonResponse(facts, status=200 if worker else 503)
