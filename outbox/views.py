"""The email log: a stage's mail, and one mail with what was asked for, where it went, and what the server said."""

from __future__ import annotations

from dataclasses import astuple

from django.conf import settings
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from organization.addresses import same_address_key
from organization.http import MemberRequest, stage_links
from organization.models import Stage
from outbox.filters import MessageFilter
from outbox.interventions import acts_of
from outbox.models import Message, RouteKind
from outbox.preview import has_content, header_names, preview
from outbox.preview import source as source_of
from outbox.stage_queue import trouble_of
from outbox.visibility import find_message, may_see_content, require_content, visible_apps, visible_messages

PAGE = 50
# For the frame that shows a mail's HTML: no script, no form, no network; only its own styles and inlined pictures.
_HTML_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
_SOURCE_POLICY = "default-src 'none'; sandbox"


@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """The log opens in the first stage."""
    return redirect("email-log", get_object_or_404(Stage.objects.filter(archived=False)[:1]).key)


@require_safe
def log(request: MemberRequest, stage: str) -> HttpResponse:
    found = get_object_or_404(Stage, key=stage)
    apps = visible_apps(request.user, found)
    wanted = MessageFilter(request.GET, visible_messages(request.user, found), apps=apps)
    messages, newer, older = _page(request, wanted)
    context = {
        "stage": found,
        "stage_links": stage_links(found, lambda other: reverse("email-log", args=[other.key])),
        "filter": wanted,
        "filtered": any(request.GET.get(name) for name in wanted.filters),
        "messages": messages,
        "newer_url": newer,
        "older_url": older,
        "trouble": trouble_of(found),
    }
    return render(request, "outbox/email_log.html", context)


@require_safe
def message(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    found = find_message(request.user, stage, message)
    can_see_content = may_see_content(request.user, found)
    content_is_there = has_content(found)
    seen = preview(found) if can_see_content and content_is_there else None
    context = {
        "stage": found.stage,
        "message": found,
        "requested": _requested(found, content_is_there=content_is_there),
        "recipients": found.recipients.all(),
        "attempts": found.attempts.all(),
        "route_sentence": _route_sentence(found),
        "notes": found.notes,
        "trouble": trouble_of(found.stage),
        "acts": acts_of(found, request.user),
        "resent_from": _if_kept(found.resent_from),
        "resent_as": _if_kept(found.resent_as),
        "can_see_content": can_see_content,
        "content_gone": "" if content_is_there else _content_gone(),
        "text_body": seen.text if seen else "",
        "html_url": reverse("email-log-html", args=[found.stage.key, found.pk]) if seen and seen.html else "",
        "source_url": reverse("email-log-source", args=[found.stage.key, found.pk]),
        "attachments": [astuple(attachment) for attachment in seen.attachments] if seen else [],
    }
    return render(request, "outbox/message.html", context)


@require_safe
@never_cache
@xframe_options_sameorigin
def html(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    """The HTML body for the sandboxed frame, under a policy of its own."""
    found = _find_with_content(request, stage, message)
    return HttpResponse(preview(found).html, headers={"Content-Security-Policy": _HTML_POLICY})


@require_safe
@never_cache
def source(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    """The bytes as the app gave them, as plain text."""
    found = _find_with_content(request, stage, message)
    headers = {"Content-Security-Policy": _SOURCE_POLICY, "X-Content-Type-Options": "nosniff"}
    return HttpResponse(source_of(found), content_type="text/plain; charset=utf-8", headers=headers)


def _find_with_content(request: MemberRequest, stage: str, message: int) -> Message:
    found = find_message(request.user, stage, message)
    require_content(request.user, found)
    if not has_content(found):
        raise Http404(_content_gone())
    return found


def _content_gone() -> str:
    return f"The content was removed after {settings.CONTENT_RETENTION_DAYS} days."


def _page(request: MemberRequest, wanted: MessageFilter) -> tuple[list[Message], str | None, str | None]:
    """One page by key, newest first, with the addresses of the pages beside it. Mail is numbered as it is accepted."""
    rows = wanted.qs.order_by("-pk")
    before, after = (_number(request.GET.get(name)) for name in ("before", "after"))
    if after is not None:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        more_newer, more_older = len(found) > PAGE, True
        found = found[:PAGE][::-1]
    else:
        found = list(rows.filter(pk__lt=before)[: PAGE + 1] if before is not None else rows[: PAGE + 1])
        more_newer, more_older = before is not None, len(found) > PAGE
        found = found[:PAGE]
    if not found:
        return [], None, None
    newer = _address(request, after=found[0].pk) if more_newer else None
    older = _address(request, before=found[-1].pk) if more_older else None
    return found, newer, older


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None


def _address(request: MemberRequest, **position: int) -> str:
    query = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    query.update({name: str(value) for name, value in position.items()})
    return f"?{query.urlencode()}"


def _if_kept(number: int | None) -> int | None:
    """The number of a mail that can still be opened."""
    return number if number and Message.objects.filter(pk=number).exists() else None


def _requested(message: Message, *, content_is_there: bool) -> list[dict[str, str]]:
    """Without the content nobody knows any more which header an address stood in."""
    headers = header_names(message)
    elsewhere = "Bcc" if content_is_there else ""
    caught = message.route == RouteKind.TEST_LIST
    decision = "Does not get the mail: the people on the test list get it instead." if caught else "Gets the mail."
    return [
        {"address": address, "header": headers.get(same_address_key(address), elsewhere), "decision": decision}
        for address in message.requested
    ]


def _route_sentence(message: Message) -> str:
    if message.route == RouteKind.TEST_LIST:
        because = "was Active, so the mail goes to the people on it and to nobody else."
    elif message.route == RouteKind.RELEASED:
        because = "doesn't catch this mail: a person released it to the recipients the app gave."
    else:
        because = "was Inactive, so the mail goes to the recipients the app gave."
    return f"The test list of {message.app} in {message.stage} {because}"
