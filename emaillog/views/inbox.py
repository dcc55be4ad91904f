"""An app's inbox in a stage: the list of emails, the chosen one beside it, and what a person does about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from emaillog.content_preview import has_content
from emaillog.content_tabs import content_context, content_gone
from emaillog.inbox import SHOWN_ROUTES, Inbox, InboxFilter, empty_inbox, find_inbox, mark_read, read_emails
from emaillog.models import ReadEmails
from emaillog.pages import newest_number, page_of
from organization.access import Scope, allowed, require
from organization.keyset import query_url, row_number
from organization.permissions import Permission
from organization.web.http import MemberRequest, stage_links
from outbox import actions
from outbox.access.visibility import mask_of, may_see_content
from outbox.models import Message


@require_safe
@never_cache
def inbox(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """The list alone; beside it there is room for an email."""
    box = find_inbox(request.user, app_key, stage_key)
    return render(request, "emaillog/inbox.html", _list(request, box, read_emails(request.user, box)))


@require_safe
@never_cache
def message(request: MemberRequest, app_key: str, stage_key: str, message_id: int) -> HttpResponse:
    """One email beside the list. Who opens it has read it."""
    box = find_inbox(request.user, app_key, stage_key)
    message = _message(box, message_id)
    marks = mark_read(request.user, box, message.pk)
    context = {**_list(request, box, marks), **_email(request, box, message)}
    return render(request, "emaillog/inbox.html", context)


@require_safe
@never_cache
def new_emails(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """The rows of what came in above a number, for the top of the list. Nothing when there is none."""
    box = find_inbox(request.user, app_key, stage_key)
    rows = page_of(InboxFilter(request.GET, box), before=None, after=row_number(request.GET, "above") or 0).page.rows
    if not rows:
        return HttpResponse(status=204)
    context = {
        **_place(request, box),
        "rows": _rows(box, rows, read_emails(request.user, box)),
        "new_url": _new_url(request, box, rows[0].pk),
    }
    return render(request, "emaillog/_inbox_rows.html", context)


@require_http_methods(["GET", "POST"])
def empty(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """Ask, then hide what was there when the question was asked."""
    box = find_inbox(request.user, app_key, stage_key)
    require(request.user, Scope(box.app, box.stage), Permission.RESEND_MAIL)
    newest = newest_number(box.stage)
    if request.method == "POST":
        up_to = row_number(request.POST, "up_to")
        empty_inbox(box, newest if up_to is None else min(up_to, newest), request.user)
        messages.success(request, "The inbox was emptied. The email log keeps its emails.")
        return redirect("inbox", app_key, stage_key)
    return render(request, "emaillog/confirm/inbox_empty.html", {"app": box.app, "stage": box.stage, "up_to": newest})


@require_POST
def send_to_me(request: MemberRequest, app_key: str, stage_key: str, message_id: int) -> HttpResponse:
    message = _message(find_inbox(request.user, app_key, stage_key), message_id)
    return _forward(request, message, lambda: actions.send_to_me(message, request.user), "The email is on its way to you.")


@require_POST
def send_to_test_list(request: MemberRequest, app_key: str, stage_key: str, message_id: int) -> HttpResponse:
    message = _message(find_inbox(request.user, app_key, stage_key), message_id)
    sent = "The email is on its way to the people on the test list."
    return _forward(request, message, lambda: actions.send_to_test_list(message, request.user), sent)


def _forward(request: MemberRequest, message: Message, act: Callable[[], Message], sent: str) -> HttpResponse:
    try:
        act()
    except ValidationError as error:
        messages.error(request, mask_of(request.user, message).text(" ".join(error.messages)))
    else:
        messages.success(request, sent)
    return redirect("inbox-message", message.app.key, message.stage.key, message.pk)


def _message(box: Inbox, number: int) -> Message:
    return get_object_or_404(box.access.messages().select_related("stage").filter(route__in=SHOWN_ROUTES), pk=number)


def _place(request: MemberRequest, box: Inbox) -> dict[str, object]:
    """Where the page is, and the search that its links keep."""
    kept = request.GET.copy()
    for name in ("show", "above"):
        kept.pop(name, None)
    return {"app": box.app, "stage": box.stage, "kept_query": kept.urlencode()}


def _list(request: MemberRequest, box: Inbox, marks: ReadEmails) -> dict[str, object]:
    newest = newest_number(box.stage)  # before the page is read, so that what comes in between counts as new
    log_filter = InboxFilter(request.GET, box)
    before, after = row_number(request.GET, "before"), row_number(request.GET, "after")
    log_page = page_of(log_filter, before=before, after=after)
    page, url = log_page.page, reverse("inbox", args=[box.app.key, box.stage.key])
    return {
        **_place(request, box),
        "stage_links": stage_links(box.stage, lambda other: reverse("inbox", args=[box.app.key, other.key])),
        "filter": log_filter,
        "filtered": bool(log_filter.given_values),
        "rows": _rows(box, page.rows, marks),
        "stopped": log_page.stopped,
        "after": after is not None,
        "newer_url": page.newer is not None and url + query_url(request, after=page.newer),
        "older_url": page.older is not None and url + query_url(request, before=page.older),
        "new_url": before is None and after is None and _new_url(request, box, newest),
        "can_empty": allowed(request.user, Scope(box.app, box.stage), Permission.RESEND_MAIL),
    }


def _rows(box: Inbox, rows: Sequence[Message], marks: ReadEmails) -> list[tuple[Message, object, bool]]:
    """Each email, how its addresses are shown, and whether it is unread."""
    return [(row, box.access.mask(row), not marks.is_read(row.pk)) for row in rows]


def _email(request: MemberRequest, box: Inbox, message: Message) -> dict[str, object]:
    content_is_there = has_content(message)
    context: dict[str, object] = {
        "message": message,
        "mask": box.access.mask(message),
        "actions": actions.allowed_actions(message, request.user),
        "can_see_content": may_see_content(request.user, message),
        "content_gone": "" if content_is_there else content_gone(message),
    }
    if context["can_see_content"] and content_is_there:
        context |= content_context(message, request.GET.get("show", ""))
    return context


def _new_url(request: MemberRequest, box: Inbox, newest: int) -> str:
    return reverse("inbox-new", args=[box.app.key, box.stage.key]) + query_url(request, above=newest)
