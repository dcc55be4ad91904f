"""The actions on one message of the log. Each action that ends or sends a message asks for confirmation first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.forms import Form
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from organization.access import Scope, require
from organization.permissions import Permission
from organization.web.http import MemberRequest
from outbox import actions
from outbox.access.visibility import find_message, mask_of
from outbox.forms import MISSING, ConfirmForm, ReleaseForm, ResendToForm
from outbox.models import Message, RouteKind, Status
from outbox.routing import Route

_FORWARDED = "The email was forwarded as test mail. This is the new one."
_RESENT = "The email was resent. This is the new one."


@require_POST
def retry(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    message = find_message(request.user, stage_key, message_id)
    return _act(request, message, lambda: actions.retry_now(message, request.user), "Retrying now for all waiting recipients.")


@require_http_methods(["GET", "POST"])
def cancel(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    """Ask, then cancel."""
    message = _find(request, stage_key, message_id, Permission.RESEND_MAIL)
    form = ConfirmForm(_posted(request), message)
    if request.method == "POST" and form.is_valid():
        return _act(request, message, lambda: actions.cancel(message, request.user), "The email was cancelled.")
    waiting = message.recipients.filter(status__in=actions.CANCELLABLE)
    addresses = [recipient.address for recipient in waiting]
    return _ask(request, message, "cancel", form, actions.why_not_cancel(message), addresses)


@require_http_methods(["GET", "POST"])
def release_held(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    """Name the real people who would get the held message, then release it to them instead of the test list."""
    message = _find(request, stage_key, message_id, Permission.RESEND_TO_REAL_RECIPIENTS)
    form = ConfirmForm(_posted(request), message)
    if request.method == "POST" and form.is_valid():
        return _act(request, message, lambda: actions.release_held(message, request.user), "The email was released.")
    addresses = actions.release_addresses(message)
    return _ask(request, message, "release_held", form, actions.why_not_release(message), addresses)


@require_http_methods(["GET", "POST"])
def resend(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    """Name the people who would get it now, then resend."""
    message = _find(request, stage_key, message_id, Permission.RESEND_MAIL)
    everybody = actions.resend_route(message)
    route = _route_of_missing(message) or everybody
    missed = len(route.people) if route is not everybody else 0
    form = ResendToForm(_posted(request), message, missed=missed, everybody=len(everybody.people))
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        known_resend, missing_only = values["known_resend"], values["to"] == MISSING
        return _act(
            request,
            message,
            lambda: actions.resend(message, request.user, known_resend=known_resend, missing_only=missing_only),
            _RESENT,
        )
    addresses = [person.email for person in route.people]
    mask = mask_of(request.user, message)
    others = [mask.address(person.email) for person in everybody.people if person.email not in addresses]
    details = {
        "others": others,
        "to_test_list": route.kind == RouteKind.TEST_LIST,
        "only_allowed": route.kind == RouteKind.ALLOWED,
        "captured": bool(route.captured),
    }
    return _ask(request, message, "resend", form, actions.why_not_resend(message), addresses, **details)


@require_http_methods(["GET", "POST"])
def resend_to_real_recipients(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    """Name the real people who would get it, then resend to them instead of the test list."""
    message = _find(request, stage_key, message_id, Permission.RESEND_TO_REAL_RECIPIENTS)
    form = ReleaseForm(_posted(request), message)
    if request.method == "POST" and form.is_valid():
        known_resend = form.cleaned_data["known_resend"]
        return _act(
            request, message, lambda: actions.resend_to_real_recipients(message, request.user, known_resend=known_resend), _RESENT
        )
    reason = actions.why_not_resend_to_real_recipients(message)
    return _ask(request, message, "release", form, reason, actions.reachable(message))


@require_POST
def send_to_test_list(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    message = find_message(request.user, stage_key, message_id)
    return _act(request, message, lambda: actions.send_to_test_list(message, request.user), _FORWARDED)


@require_POST
def send_to_me(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    message = find_message(request.user, stage_key, message_id)
    return _act(request, message, lambda: actions.send_to_me(message, request.user), _FORWARDED)


def _find(request: MemberRequest, stage_key: str, message_id: int, permission: Permission) -> Message:
    message = find_message(request.user, stage_key, message_id)
    require(request.user, Scope(message.app, message.stage), permission)
    return message


def _route_of_missing(message: Message) -> Route | None:
    """Where the message goes if only those get it who didn't yet; None if everybody or nobody got it."""
    reached = actions.reached_by([message])[message.pk]
    failed = message.recipients.filter(status=Status.FAILED).exists()
    route = actions.resend_route(message, reached) if reached and failed else None
    return route if route and route.people else None


def _posted(request: MemberRequest) -> QueryDict | None:
    return request.POST if request.method == "POST" else None


def _act(request: MemberRequest, message: Message, act: Callable[[], Message], done: str) -> HttpResponse:
    """Run `act` and open the message that it returns. If it can't be done, go back to `message` with the reason."""
    try:
        target = act()
    except ValidationError as error:
        messages.error(request, mask_of(request.user, message).text(" ".join(error.messages)))
        target = message
    else:
        messages.success(request, done)
    return redirect("email-log-message", target.stage.key, target.pk)


def _ask(
    request: MemberRequest, message: Message, about: str, form: Form, reason: str, hit: Sequence[str], **details: object
) -> HttpResponse:
    """Show the page that asks for confirmation and names the addresses that are `hit`.

    If the action can't be done, go back to the message with the reason.
    """
    if reason:
        messages.error(request, reason)
        return redirect("email-log-message", message.stage.key, message.pk)
    mask = mask_of(request.user, message)
    addresses = [mask.address(address) for address in hit]
    context = {**details, "addresses": addresses, "message": message, "stage": message.stage, "form": form}
    return render(request, f"emaillog/confirm/{about}.html", context, status=422 if form.errors else 200)
