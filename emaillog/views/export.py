"""The email log as a file to download. The audit trail says who took what."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from common.csv_stream import csv_download
from emaillog.csv_export import csv_lines
from emaillog.filters import MessageFilter
from organization import audit
from organization.http import MemberRequest
from organization.models import Stage
from outbox.visibility import sight_of


@require_GET
@never_cache
def export(request: MemberRequest, stage: str) -> StreamingHttpResponse:
    found = get_object_or_404(Stage, key=stage)
    wanted = MessageFilter(request.GET, sight_of(request.user, found))
    audit.record(request.user, audit.Operation.EXPORT, found, after={"what": "email log", "filters": wanted.asked})
    zone = timezone.get_current_timezone()  # the member's; it isn't set any more while the lines are written
    return csv_download(f"email-log-{found.key}", csv_lines(wanted, zone))
