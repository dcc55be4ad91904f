"""The audit trail as a page and as a file to download.

It shows who did what and what that changed, newest first.
"""

from __future__ import annotations

from django.db.models import Model
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe

from common.csv_stream import csv_download, csv_lines
from organization import audit
from organization.access import EVERYWHERE, allowed, require
from organization.audit.changes import changes_of
from organization.audit.export import rows_of
from organization.audit.filters import AuditFilter
from organization.keyset import ROWS_TO_READ, page_below, query_url, row_number
from organization.models import AuditEvent, Member, Stage
from organization.permissions import Permission
from organization.web.app_search import PROPOSED_AT_MOST, apps_called
from organization.web.http import MemberRequest


@require_safe
def audit_trail(request: MemberRequest) -> HttpResponse:
    """A page of the trail: the newest entries, or those before an entry (decision 6)."""
    require(request.user, EVERYWHERE, Permission.VIEW_AUDIT_TRAIL)
    event_filter = AuditFilter(request.GET)
    before, events = row_number(request.GET, "before"), event_filter.events()
    if before is not None:
        events = events.filter(pk__lt=before)
    page = page_below(list(events[:ROWS_TO_READ]), before)
    context = {
        "filter": event_filter,
        "filtered": bool(event_filter.given_values),
        "time_zone": request.user.time_zone,
        "rows": [(event, changes_of(event, sees_addresses=_sees_addresses(request))) for event in page.rows],
        "newer_url": "" if before is None else query_url(request) or "?",  # the newest
        "older_url": "" if page.older is None else query_url(request, before=page.older),
        "export_url": reverse("audit-trail-export") + query_url(request),
    }
    return render(request, "organization/audit_trail.html", context)


@require_safe
def app_names(request: MemberRequest) -> HttpResponse:
    """Propose apps for what is typed into the app filter."""
    require(request.user, EVERYWHERE, Permission.VIEW_AUDIT_TRAIL)
    apps = apps_called(request.GET.get("app", ""), PROPOSED_AT_MOST)
    return render(request, "organization/_app_names.html", {"apps": apps})


@require_GET
@never_cache
def export(request: MemberRequest) -> StreamingHttpResponse:
    """Export the filtered entries as a file.

    The trail records who exported it.
    """
    require(request.user, EVERYWHERE, Permission.VIEW_AUDIT_TRAIL)
    event_filter = AuditFilter(request.GET)
    audit.record(
        request.user, audit.Operation.EXPORT, AuditEvent, after={"what": "audit trail", "filters": event_filter.given_values}
    )
    zone = timezone.get_current_timezone()  # the member's zone, which is no longer set while the lines are streamed
    return csv_download("audit-trail", csv_lines(rows_of(event_filter.events(), zone, sees_addresses=_sees_addresses(request))))


def audit_trail_of(member: Member, model: type[Model], stage: Stage) -> str:
    """The URL of the trail with all that happened to rows of `model` in the stage. Empty for members who may not read it."""
    if not allowed(member, EVERYWHERE, Permission.VIEW_AUDIT_TRAIL):
        return ""
    query = urlencode({"entity": str(model._meta.verbose_name), "stage": stage.key})
    return f"{reverse('audit-trail')}?{query}"


def _sees_addresses(request: MemberRequest) -> bool:
    return allowed(request.user, EVERYWHERE, Permission.ACCESS_USER_INFORMATION)
