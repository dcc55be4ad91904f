"""The page of one message: what the app requested, where it went and what the server said.

Members with the permission also see the content.
"""

from __future__ import annotations

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from emailconfig.services import settings_of
from emaillog.content_preview import has_content, preview, read_attachment
from emaillog.content_preview import source as source_of
from emaillog.content_tabs import content_context, content_gone
from emaillog.outcomes import recipient_outcomes, server_replies
from emaillog.requested import requested_recipients
from organization.access import Scope, allowed
from organization.models import Member
from organization.permissions import Permission
from organization.web.http import MemberRequest
from outbox.access.visibility import find_message, mask_of, may_see_content, require_content
from outbox.actions import allowed_actions
from outbox.models import FINAL, LIST_REASONS, HoldReason, Message, RouteKind, Status
from testlists.services import may_edit

# For the frame that shows the HTML: no script, no form, no network. It may use only its own styles and inlined pictures.
_HTML_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox",
    "X-DNS-Prefetch-Control": "off",
}
_POLICY_SENTENCES = {
    RouteKind.ALLOWED: "The stage allows these addresses, so they get their own copy as test mail. Other copies are captured.",
    RouteKind.CAPTURED: "The stage's recipient policy lets nobody get this email. It is kept here.",
    RouteKind.FORWARDED: "A person forwarded this captured email as test mail, to these addresses and to nobody else.",
}
_TEST_MAIL = (RouteKind.TEST_LIST, RouteKind.ALLOWED, RouteKind.FORWARDED)
_DOWNLOAD_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}


@require_safe
def message(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    message = find_message(request.user, stage_key, message_id)
    mask = mask_of(request.user, message)
    content_is_there = has_content(message)
    recipients, attempts = list(message.recipients.all()), list(message.attempts.all())
    context: dict[str, object] = {
        "stage": message.stage,
        "message": message,
        "mask": mask,
        "requested": requested_recipients(message, recipients, mask, content_is_there=content_is_there),
        "recipients": recipients,
        "outcomes": recipient_outcomes(recipients, attempts, mask),
        "replies": server_replies(attempts),
        "attempts": attempts,
        "missed": message.status == Status.FAILED or any(recipient.status == Status.FAILED for recipient in recipients),
        "link": request.build_absolute_uri(reverse("email-by-number", args=[message.pk])),
        "route_sentence": _route_sentence(message),
        "actions": allowed_actions(message, request.user),
        "final": FINAL,
        "test_mail": _TEST_MAIL,
        **_ways_out(message, request.user),
        "resent_from": _if_kept(message.resent_from),
        "resent_as": _if_kept(message.resent_as),
        "can_see_content": may_see_content(request.user, message),
        "content_gone": "" if content_is_there else content_gone(message),
    }
    if context["can_see_content"] and content_is_there:
        context |= content_context(message, request.GET.get("show", ""))
    return render(request, "emaillog/message/page.html", context)


@require_safe
@never_cache
@xframe_options_sameorigin
def html(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    """Return the HTML body for the sandboxed frame, with a policy of its own."""
    message = _find_with_content(request, stage_key, message_id)
    return HttpResponse(preview(message).html, headers=_HTML_HEADERS)


@require_safe
@never_cache
def source(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    """Return the bytes as the app gave them, as plain text."""
    message = _find_with_content(request, stage_key, message_id)
    return HttpResponse(source_of(message), content_type="text/plain; charset=utf-8", headers=_DOWNLOAD_HEADERS)


@require_safe
@never_cache
def attachment(request: MemberRequest, stage_key: str, message_id: int, number: int) -> HttpResponse:
    """Return one attachment as a download. The browser never opens it as a page of the portal."""
    message = _find_with_content(request, stage_key, message_id)
    opened = read_attachment(message, number)
    if opened is None:
        raise Http404("The email has no such attachment.")
    file, data = opened
    disposition = content_disposition_header(True, file.safe_name)
    headers = {**_DOWNLOAD_HEADERS, "Content-Disposition": disposition or "attachment"}
    return HttpResponse(data, content_type="application/octet-stream", headers=headers)


def _ways_out(message: Message, member: Member) -> dict[str, str]:
    """Return the pages where the member may remove the reason for the hold. Empty if the message isn't held."""
    if message.status != Status.HELD:
        return {}
    ways, stage = {}, message.stage
    if settings_of(stage) is None and allowed(member, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS):
        ways["set_up_url"] = reverse("email-configuration-edit", args=[stage.key])
    if message.hold_reason in LIST_REASONS and may_edit(member, message.app, stage):
        ways["test_list_url"] = reverse("app-emails-edit", args=[message.app.key, stage.key])
    return ways


def _find_with_content(request: MemberRequest, stage_key: str, message_id: int) -> Message:
    message = find_message(request.user, stage_key, message_id)
    require_content(request.user, message)
    if not has_content(message):
        raise Http404(content_gone(message))
    return message


def _if_kept(number: int | None) -> int | None:
    """Return the number if that message is still stored."""
    return number if number and Message.objects.filter(pk=number).exists() else None


def _route_sentence(message: Message) -> str:
    if message.is_own and message.route != RouteKind.CAPTURED:
        return "The portal wrote this email to a member. No test list catches it."
    if message.hold_reason == HoldReason.TEST_LIST_MISSING:
        because = "is missing, so the email is held."
    elif message.hold_reason == HoldReason.TEST_LIST_EMPTY:
        because = "is empty, so the email is held."
    elif message.hold_reason == HoldReason.LIST_EXPIRED:
        because = "has expired, so the email is held."
    elif message.route == RouteKind.TEST_LIST:
        because = "was Active, so the email goes only to the people on it."
    elif message.route in _POLICY_SENTENCES:
        return _POLICY_SENTENCES[RouteKind(message.route)]
    elif message.route == RouteKind.RELEASED:
        because = "was bypassed: a person released the email to the recipients the app gave."
    else:
        because = "was Inactive, so the email goes to the recipients the app gave."
    return f"The test list of {message.app} in {message.stage} {because}"
