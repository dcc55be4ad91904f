"""The email log: a stage's messages page by page, and how many came in since. `message` has the page of one message."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from emaillog.active_lists import active_lists
from emaillog.bounded_scan import SCAN_LIMIT
from emaillog.filters import MessageFilter
from emaillog.pages import newest_number, number_of_newer, page_of
from organization.keyset import query_url, row_number
from organization.models import Stage
from organization.web.http import MemberRequest, stage_links
from organization.web.last_stage import last_stage
from outbox.access.visibility import log_access

NEWER_AT_MOST = 50
_STOP_POLLING = 286  # htmx's own status


@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """Open the log of the stage that the member looked at last."""
    stage = last_stage(request)
    if stage is None:
        raise Http404
    return redirect("email-log", stage.key)


@require_safe
def log(request: MemberRequest, stage_key: str) -> HttpResponse:
    stage = get_object_or_404(Stage, key=stage_key)
    access = log_access(request.user, stage)
    newest = newest_number(stage)  # before the page is read, so that a message that comes in between counts as new
    log_filter = MessageFilter(request.GET, access)
    before, after = row_number(request.GET, "before"), row_number(request.GET, "after")
    log_page = page_of(log_filter, before=before, after=after)
    page = log_page.page
    context = {
        "stage": stage,
        "stage_links": stage_links(stage, lambda other: reverse("email-log", args=[other.key])),
        "filter": log_filter,
        "active_lists": active_lists(stage, access.apps),
        "filtered": bool(log_filter.given_values),
        "rows": [(message, access.mask(message)) for message in page.rows],
        "after": after is not None,
        "time_zone": request.user.time_zone,
        "stopped": log_page.stopped,
        "searched": SCAN_LIMIT,
        "newer_url": page.newer is not None and query_url(request, after=page.newer),
        "older_url": page.older is not None and query_url(request, before=page.older),
        "export_url": reverse("email-log-export", args=[stage.key]) + query_url(request),
        "new_mail_url": before is None and after is None and _new_mail_url(request, stage, newest),
    }
    return render(request, "emaillog/email_log.html", context)


@require_safe
@never_cache
def new_mail(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Show how many matching messages came in above a number, as a link that loads them. Empty if there are none."""
    stage = get_object_or_404(Stage, key=stage_key)
    log_filter = MessageFilter(request.GET, log_access(request.user, stage))
    number = number_of_newer(log_filter, row_number(request.GET, "above") or 0, NEWER_AT_MOST + 1)
    context = {
        "number": min(number, NEWER_AT_MOST),
        "more": number > NEWER_AT_MOST,
        "url": reverse("email-log", args=[stage.key]) + query_url(request),
    }
    status = _STOP_POLLING if number > NEWER_AT_MOST else 200
    return render(request, "emaillog/_new_mail.html", context, status=status)


def _new_mail_url(request: MemberRequest, stage: Stage, newest: int) -> str:
    return reverse("email-log-new", args=[stage.key]) + query_url(request, above=newest)
