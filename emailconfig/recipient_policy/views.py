"""Who gets email from a stage: its recipient policy and its allowed addresses."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from common.addresses import masked_address
from common.clock import database_now
from emailconfig.recipient_policy.forms import AllowForm, PolicyForm
from organization.access import Scope, allowed, require
from organization.forms import add_refusal
from organization.models import AllowedAddress, Stage
from organization.permissions import Permission
from organization.recipient_policy import changes
from organization.web.http import MemberRequest, stage_links

_PAGE = "recipient-policy"


@require_safe
def show(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Every member may read the policy; whose addresses are allowed only those who may know recipients."""
    return _page(request, get_object_or_404(Stage, key=stage_key))


@require_POST
def change(request: MemberRequest, stage_key: str) -> HttpResponse:
    stage = _stage_to_change(request, stage_key)
    form = PolicyForm(request.POST, stage, database_now())
    if form.is_valid():
        try:
            saved = changes.change_policy(stage, form.cleaned_data["policy"], request.user, **form.options())
        except ValidationError as error:
            add_refusal(form, error)
        else:
            _say_what_holds_now(request, saved)
            return redirect(_PAGE, stage.key)
    return _page(request, stage, policy_form=form)


@require_POST
def allow(request: MemberRequest, stage_key: str) -> HttpResponse:
    stage = _stage_to_change(request, stage_key)
    form = AllowForm(request.POST, stage)
    if form.is_valid():
        try:
            entries = changes.allow(stage, form.cleaned_data["patterns"], request.user, **form.options())
        except ValidationError as error:
            add_refusal(form, error)
        else:
            named = ", ".join(entry.pattern for entry in entries[:5])
            more = " …" if entries[5:] else ""
            messages.success(request, f"From the next email on, these may get email from {stage.name}: {named}{more}.")
            return redirect(_PAGE, stage.key)
    return _page(request, stage, allow_form=form)


@require_POST
def allow_me(request: MemberRequest, stage_key: str) -> HttpResponse:
    stage = _stage_to_change(request, stage_key)
    try:
        changes.allow_oneself(stage, request.user)
    except ValidationError as error:
        return _page(request, stage, refused="Your address isn't allowed. " + " ".join(error.messages))
    messages.success(request, f"From the next email on, {request.user.email} may get email from {stage.name}.")
    return redirect(_PAGE, stage.key)


@require_POST
def disallow(request: MemberRequest, stage_key: str, entry: int) -> HttpResponse:
    allowed_address = get_object_or_404(AllowedAddress.objects.select_related("stage"), pk=entry, stage__key=stage_key)
    with suppress(ValidationError):  # another member removed it in this very moment
        changes.disallow(allowed_address.stage, allowed_address.pattern, request.user)
    leaving = changes.wait_until_none_in_flight(allowed_address.stage)
    messages.success(
        request, f"{allowed_address.pattern} no longer gets email from {allowed_address.stage.name}.{_still(leaving)}"
    )
    return redirect(_PAGE, allowed_address.stage.key)


def _page(request: MemberRequest, stage: Stage, **refused: Any) -> HttpResponse:
    """The page; with `refused` forms or words it answers 422."""
    now = database_now()
    can_change = changes.may_change(request.user, stage)
    sees_addresses = can_change or allowed(request.user, Scope(stage=stage), Permission.ACCESS_USER_INFORMATION)
    context = {
        "stage": stage,
        "stage_links": stage_links(stage, lambda other: reverse(_PAGE, args=[other.key])),
        "until": changes.end_ahead(stage, now),
        "allowed": [_row(entry, now, sees_addresses=sees_addresses) for entry in stage.allowed_addresses.all()],
        "can_change": can_change,
        "policy_form": PolicyForm(None, stage, now),
        "allow_form": AllowForm(None, stage),
        "in_force": changes.policy_in_force(stage, now),
        **refused,
    }
    return render(request, "emailconfig/recipient_policy.html", context, status=422 if refused else 200)


def _row(entry: AllowedAddress, now: Any, *, sees_addresses: bool) -> dict[str, Any]:
    shown = entry.pattern if sees_addresses or "@" not in entry.pattern else masked_address(entry.pattern)
    return {"entry": entry, "shown": shown, "is_expired": entry.is_expired(now)}


def _say_what_holds_now(request: MemberRequest, stage: Stage) -> None:
    policy = changes.policy_in_force(stage, database_now())
    leaving = changes.wait_until_none_in_flight(stage)
    say = messages.warning if leaving else messages.success
    say(request, f"{stage.name} is now: {policy.label}.{_still(leaving)}")


def _still(leaving: int) -> str:
    return f" {leaving} email(s) handed to the server before are still being sent." if leaving else ""


def _stage_to_change(request: MemberRequest, key: str) -> Stage:
    stage = get_object_or_404(Stage, key=key)
    require(request.user, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    return stage
