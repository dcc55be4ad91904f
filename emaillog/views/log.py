"""The email log of all stages or of one: page by page, and how many messages came in since.

`message` has the page of one message.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from emaillog.active_lists import active_lists
from emaillog.bounded_scan import SCAN_LIMIT
from emaillog.filters import MessageFilter
from emaillog.pages import count_matching, newest_number, number_of_newer, page_of
from emaillog.reasons import Reason, reasons_of
from emaillog.views.may_act import may_act
from organization.keyset import query_url, row_number
from organization.models import App, Member, Stage
from organization.web.app_search import PROPOSED_AT_MOST, apps_called
from organization.web.http import MemberRequest, stage_links
from outbox.access.visibility import AnyLogAccess, log_access, masks, wide_log_access
from outbox.models import Message

NEWER_AT_MOST = 50
_STOP_POLLING = 286  # htmx's own status


@require_safe
def log(request: MemberRequest, stage_key: str | None = None) -> HttpResponse:
    access = find_access(request.user, stage_key)
    newest = newest_number()  # before the page is read, so that a message that comes in between counts as new
    log_filter = MessageFilter(request.GET, access)
    before, after = row_number(request.GET, "before"), row_number(request.GET, "after")
    log_page = page_of(log_filter, before=before, after=after)
    page, is_first = log_page.page, before is None and after is None
    context = {
        **_place(access, stage_key),
        "filter": log_filter,
        "filtered": bool(log_filter.given_values),
        "rows": _rows(log_filter, [*(_called_by_number(log_filter, page.rows) if is_first else []), *page.rows]),
        "after": after is not None,
        "time_zone": request.user.time_zone,
        "stopped": log_page.stopped,
        "searched": SCAN_LIMIT,
        "newer_url": page.newer is not None and query_url(request, after=page.newer),
        "older_url": page.older is not None and query_url(request, before=page.older),
        "may_act": may_act(request.user),
        "count_url": reverse("email-log-count") + _count_query(request, stage_key),
        "reset_url": _url("email-log", stage_key),
        "export_url": _url("email-log-export", stage_key) + query_url(request),
        "new_mail_url": is_first
        and not log_filter.errors
        and _url("email-log-new", stage_key) + query_url(request, above=newest),
    }
    return render(request, "emaillog/email_log.html", context, status=422 if log_filter.errors else 200)


@require_safe
@never_cache
def new_mail(request: MemberRequest, stage_key: str | None = None) -> HttpResponse:
    """Show how many matching messages came in above a number, as a link that loads them. Empty if there are none."""
    log_filter = MessageFilter(request.GET, find_access(request.user, stage_key))
    number = number_of_newer(log_filter, row_number(request.GET, "above") or 0, NEWER_AT_MOST + 1)
    context = {
        "number": min(number, NEWER_AT_MOST),
        "more": number > NEWER_AT_MOST,
        "url": _url("email-log", stage_key) + query_url(request),
    }
    status = _STOP_POLLING if number > NEWER_AT_MOST else 200
    return render(request, "emaillog/_new_mail.html", context, status=status)


@require_safe
@never_cache
def count(request: MemberRequest) -> HttpResponse:
    """How many emails match, as text for the bar of selected emails. It says if there are more than it counted."""
    log_filter = MessageFilter(request.GET, wide_log_access(request.user))
    number, more = count_matching(log_filter)
    return HttpResponse(f"{number:,}{'+' if more else ''}", content_type="text/plain; charset=utf-8")


@require_safe
def app_names(request: MemberRequest) -> HttpResponse:
    """Propose apps for what is typed into the log's app filter: a few of those whose emails the member may see."""
    access = wide_log_access(request.user)
    visible = None if access.every_app else App.objects.filter(pk__in=[app.pk for app in access.some_apps])
    apps = apps_called(request.GET.get("app", ""), PROPOSED_AT_MOST, visible)
    return render(request, "organization/_app_names.html", {"apps": apps})


@require_safe
def by_number(request: MemberRequest, message_id: int) -> HttpResponse:
    """Open the page of the message with this number, whatever its stage."""
    message = get_object_or_404(wide_log_access(request.user).messages(), pk=message_id)
    return redirect("email-log-message", message.stage.key, message.pk)


def find_access(member: Member, stage_key: str | None) -> AnyLogAccess:
    """To the log of one stage, or of all. Raises Http404 and PermissionDenied."""
    if stage_key is None:
        return wide_log_access(member)
    return log_access(member, get_object_or_404(Stage, key=stage_key))


def _place(access: AnyLogAccess, stage_key: str | None) -> dict[str, object]:
    if stage_key is None:
        return {"stage": None}
    (stage,) = access.stages
    return {
        "stage": stage,
        "stage_links": stage_links(stage, lambda other: reverse("email-log", args=[other.key])),
        "all_stages_url": reverse("email-log"),
        "active_lists": active_lists(stage, access),
    }


def _url(name: str, stage_key: str | None) -> str:
    return reverse(name, args=[stage_key] if stage_key else [])


def _count_query(request: MemberRequest, stage_key: str | None) -> str:
    query = query_url(request)
    return f"{query}&stage={stage_key}" if query and stage_key else query or (f"?stage={stage_key}" if stage_key else "")


def _rows(log_filter: MessageFilter, messages: list[Message]) -> list[tuple[Message, object, str]]:
    """Each message, how its addresses are shown, and why it is held or failed."""
    access, reasons = log_filter.access, reasons_of(messages)
    stages = {stage.pk: stage for stage in access.stages}
    rows: list[tuple[Message, object, str]] = []
    for message in messages:
        message.stage = stages[message.stage_id]
    for message, mask in zip(messages, masks(access, messages), strict=True):
        rows.append((message, mask, mask.text(reasons.get(message.pk, Reason()).text)))
    return rows


def _called_by_number(log_filter: MessageFilter, shown: Sequence[Message]) -> list[Message]:
    """The message whose number was typed. A search for words may find it only many pages further back."""
    if log_filter.number is None or log_filter.errors:
        return []
    return [row for row in log_filter.rows.filter(pk=log_filter.number) if row not in shown]
