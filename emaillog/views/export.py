"""The email log as a file to download. The audit trail records who exported what."""

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
from organization.models import Stage
from organization.web.http import MemberRequest
from outbox.access.visibility import log_access


@require_GET
@never_cache
def export(request: MemberRequest, stage_key: str) -> StreamingHttpResponse:
    stage = get_object_or_404(Stage, key=stage_key)
    log_filter = MessageFilter(request.GET, log_access(request.user, stage))
    audit.record(request.user, audit.Operation.EXPORT, stage, after={"what": "email log", "filters": log_filter.given_values})
    zone = timezone.get_current_timezone()  # the member's zone, which is no longer set while the lines are written
    return csv_download(f"email-log-{stage.key}", csv_lines(log_filter, zone))
