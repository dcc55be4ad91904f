"""The email log: a stage's mail page by page, and how much has come in since. One mail's page is in message_views."""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from emaillog.active_lists import active_lists
from emaillog.bounded_scan import AT_ONCE
from emaillog.filters import MessageFilter
from emaillog.pages import newest_number, number_of_newer, page_of
from organization.http import MemberRequest, stage_links
from organization.keyset import query_url, row_number
from organization.last_stage import last_stage
from organization.models import Stage
from outbox.visibility import sight_of

NEWER_AT_MOST = 50
_STOP_POLLING = 286  # htmx's own status


@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """The log opens in the stage looked at last."""
    found = last_stage(request)
    if found is None:
        raise Http404
    return redirect("email-log", found.key)


@require_safe
def log(request: MemberRequest, stage: str) -> HttpResponse:
    found = get_object_or_404(Stage, key=stage)
    sight = sight_of(request.user, found)
    newest = newest_number(found)  # before the page is read: what comes in between shall count as new
    wanted = MessageFilter(request.GET, sight)
    before, after = row_number(request.GET, "before"), row_number(request.GET, "after")
    log_page = page_of(wanted, before=before, after=after)
    page = log_page.page
    context = {
        "stage": found,
        "stage_links": stage_links(found, lambda other: reverse("email-log", args=[other.key])),
        "filter": wanted,
        "active_lists": active_lists(found, sight.apps),
        "filtered": bool(wanted.asked),
        "rows": [(message, sight.mask(message)) for message in page.rows],
        "after": after is not None,
        "time_zone": request.user.time_zone,
        "stopped": log_page.stopped,
        "searched": AT_ONCE,
        "newer_url": page.newer is not None and query_url(request, after=page.newer),
        "older_url": page.older is not None and query_url(request, before=page.older),
        "export_url": reverse("email-log-export", args=[found.key]) + query_url(request),
        "new_mail_url": before is None and after is None and _new_mail_url(request, found, newest),
    }
    return render(request, "emaillog/email_log.html", context)


@require_safe
@never_cache
def new_mail(request: MemberRequest, stage: str) -> HttpResponse:
    """How many mails that match came in above a number, as a link that loads them; nothing when there are none."""
    found = get_object_or_404(Stage, key=stage)
    wanted = MessageFilter(request.GET, sight_of(request.user, found))
    number = number_of_newer(wanted, row_number(request.GET, "above") or 0, NEWER_AT_MOST + 1)
    context = {
        "number": min(number, NEWER_AT_MOST),
        "more": number > NEWER_AT_MOST,
        "url": reverse("email-log", args=[found.key]) + query_url(request),
    }
    status = _STOP_POLLING if number > NEWER_AT_MOST else 200
    return render(request, "emaillog/_new_mail.html", context, status=status)


def _new_mail_url(request: MemberRequest, stage: Stage, newest: int) -> str:
    return reverse("email-log-new", args=[stage.key]) + query_url(request, above=newest)
