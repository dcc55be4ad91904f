"""The email log as a file to download. The audit trail records who exported what."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from common.csv_stream import csv_download
from emaillog.csv_export import csv_lines
from emaillog.filters import MessageFilter
from emaillog.views.log import find_access
from organization import audit
from organization.models import Stage
from organization.web.http import MemberRequest


@require_GET
@never_cache
def export(request: MemberRequest, stage_key: str | None = None) -> HttpResponseBase:
    log_filter = MessageFilter(request.GET, find_access(request.user, stage_key))
    if log_filter.errors:
        wrong = [f"{log_filter.filters[name].label}: {' '.join(errors)}" for name, errors in log_filter.errors.items()]
        return HttpResponse("Nothing was exported. " + "\n".join(wrong), status=422, content_type="text/plain; charset=utf-8")
    stages = log_filter.access.stages
    subject = stages[0] if len(stages) == 1 else Stage
    audit.record(request.user, audit.Operation.EXPORT, subject, after={"what": "email log", "filters": log_filter.given_values})
    zone = timezone.get_current_timezone()  # the member's zone, which is no longer set while the lines are written
    name = f"email-log-{stages[0].key}" if len(stages) == 1 else "email-log"
    return csv_download(name, csv_lines(log_filter, zone))
