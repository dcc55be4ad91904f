"""What a person does about one mail in the log. What ends a mail, or sends one, is asked about first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.forms import Form
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from organization.access import Scope, require
from organization.http import MemberRequest
from organization.permissions import Permission
from outbox import actions
from outbox.forms import ConfirmForm, ReleaseForm, ResendForm
from outbox.models import Message, RouteKind
from outbox.visibility import find_message, mask_of

_RESENT = "The mail was resent. This is the new one."


@require_POST
def retry(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    found = find_message(request.user, stage, message)
    return _act(request, found, lambda: actions.retry_now(found, request.user), "Every recipient that waits is due now.")


@require_http_methods(["GET", "POST"])
def cancel(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    """Ask, then cancel."""
    found = _find(request, stage, message, Permission.RESEND_MAIL)
    form = ConfirmForm(_posted(request), found)
    if request.method == "POST" and form.is_valid():
        return _act(request, found, lambda: actions.cancel(found, request.user), "The mail was cancelled.")
    waiting = found.recipients.filter(status__in=actions.CANCELLABLE)
    addresses = [recipient.address for recipient in waiting]
    return _ask(request, found, "cancel", form, actions.cancel_obstacle(found), addresses)


@require_http_methods(["GET", "POST"])
def release_held(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    """Name the real people who would get the held mail, then let it go past the test list."""
    found = _find(request, stage, message, Permission.RESEND_TO_REAL_RECIPIENTS)
    form = ConfirmForm(_posted(request), found)
    if request.method == "POST" and form.is_valid():
        return _act(request, found, lambda: actions.release_held(found, request.user), "The mail was released.")
    addresses = actions.release_addresses(found)
    return _ask(request, found, "release_held", form, actions.release_obstacle(found), addresses)


@require_http_methods(["GET", "POST"])
def resend(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    """Say who would get it now, then resend."""
    found = _find(request, stage, message, Permission.RESEND_MAIL)
    form = ResendForm(_posted(request), found)
    if request.method == "POST" and form.is_valid():
        read_at = form.cleaned_data["read_at"]
        return _act(request, found, lambda: actions.resend(found, request.user, read_at=read_at), _RESENT)
    route = actions.resend_route(found)
    addresses, to_test_list = [person.email for person in route.people], route.kind == RouteKind.TEST_LIST
    return _ask(request, found, "resend", form, actions.resend_obstacle(found), addresses, to_test_list=to_test_list)


@require_http_methods(["GET", "POST"])
def resend_to_real_recipients(request: MemberRequest, stage: str, message: int) -> HttpResponse:
    """Name the real people who would get it, then resend past the test list."""
    found = _find(request, stage, message, Permission.RESEND_TO_REAL_RECIPIENTS)
    form = ReleaseForm(_posted(request), found)
    if request.method == "POST" and form.is_valid():
        read_at = form.cleaned_data["read_at"]
        return _act(request, found, lambda: actions.resend_to_real_recipients(found, request.user, read_at=read_at), _RESENT)
    return _ask(request, found, "release", form, actions.resend_obstacle(found), actions.reachable(found))


def _find(request: MemberRequest, stage: str, message: int, permission: Permission) -> Message:
    found = find_message(request.user, stage, message)
    require(request.user, Scope(found.app, found.stage), permission)
    return found


def _posted(request: MemberRequest) -> QueryDict | None:
    return request.POST if request.method == "POST" else None


def _act(request: MemberRequest, found: Message, act: Callable[[], Message], done: str) -> HttpResponse:
    """Then to the mail that `act` returns; back to `found`, with the reason, when it can't be done."""
    try:
        mail = act()
    except ValidationError as error:
        messages.error(request, mask_of(request.user, found).text(" ".join(error.messages)))
        mail = found
    else:
        messages.success(request, done)
    return redirect("email-log-message", mail.stage.key, mail.pk)


def _ask(
    request: MemberRequest, found: Message, about: str, form: Form, obstacle: str, hit: Sequence[str], **details: object
) -> HttpResponse:
    """The page that asks, and names the addresses that are `hit`.

    Leads back to the email, with the reason, when it can't be done anyway.
    """
    if obstacle:
        messages.error(request, obstacle)
        return redirect("email-log-message", found.stage.key, found.pk)
    mask = mask_of(request.user, found)
    addresses = [mask.address(address) for address in hit]
    context = {**details, "addresses": addresses, "message": found, "stage": found.stage, "form": form}
    return render(request, f"emaillog/confirm_{about}.html", context, status=422 if form.errors else 200)
