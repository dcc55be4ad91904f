"""For load balancers and monitoring: does the process live, and is the portal able to do its work?"""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.db.models import Min, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from organization.models import Stage
from outbox.connections import living_workers
from outbox.models import Message, Status


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
        worker = living_workers().exists()
        oldest = _oldest_queued()
    except DatabaseError:
        return JsonResponse({"database": False}, status=503)
    age = (timezone.now() - oldest).total_seconds() if oldest else 0
    facts = {"database": True, "worker": worker, "oldest_queued_seconds": round(max(age, 0))}
    return JsonResponse(facts, status=200 if worker else 503)


def _oldest_queued() -> datetime | None:
    """When the mail was accepted that has been queued for longest. Stage by stage, in the order of the queue's index."""
    queued = Message.objects.filter(stage=OuterRef("pk"), status=Status.QUEUED).order_by("due").values("created")
    found: datetime | None = Stage.objects.aggregate(oldest=Min(Subquery(queued[:1])))["oldest"]
    return found
