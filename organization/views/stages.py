"""Stages: create, rename, order, archive and restore."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from organization.access import EVERYWHERE, allowed, require
from organization.forms import StageConfirmation, StageForm, add_refusal
from organization.models import Stage
from organization.permissions import Permission
from organization.services import move_stage, save_in_organization
from organization.web.http import MemberRequest


@require_safe
def stages(request: MemberRequest) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.VIEW_STAGES)
    context = {"stages": Stage.objects.all(), "can_manage": allowed(request.user, EVERYWHERE, Permission.MANAGE_STAGES)}
    return render(request, "organization/stages.html", context)


@require_http_methods(["GET", "POST"])
def create_stage(request: MemberRequest) -> HttpResponse:
    _require(request)
    last = Stage.objects.last()
    return _edit(request, Stage(order=last.order + 1 if last else 1))


@require_http_methods(["GET", "POST"])
def edit_stage(request: MemberRequest, stage_key: str) -> HttpResponse:
    _require(request)
    return _edit(request, get_object_or_404(Stage, key=stage_key))


@require_POST
def move(request: MemberRequest, stage_key: str, by: int) -> HttpResponse:
    """Move a stage one place up or down in the order of all stage selectors."""
    move_stage(get_object_or_404(Stage, key=stage_key), by, request.user)
    return redirect("stages")


@require_http_methods(["GET", "POST"])
def archive(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Say what archiving means, ask for confirmation, and archive."""
    _require(request)
    stage = get_object_or_404(Stage, key=stage_key)
    form = StageConfirmation(request.POST if request.method == "POST" else None, stage)
    if request.method == "POST" and form.is_valid():
        try:
            _set_archived(request, stage, archived=True)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, f"{stage.name} was archived. It no longer accepts emails.")
            return redirect("stages")
    return render(
        request, "organization/confirm_stage_archive.html", {"stage": stage, "form": form}, status=422 if form.errors else 200
    )


@require_POST
def restore(request: MemberRequest, stage_key: str) -> HttpResponse:
    stage = get_object_or_404(Stage, key=stage_key)
    try:
        _set_archived(request, stage, archived=False)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{stage.name} accepts emails again.")
    return redirect("stages")


def _require(request: MemberRequest) -> None:
    require(request.user, EVERYWHERE, Permission.MANAGE_STAGES)


def _edit(request: MemberRequest, stage: Stage) -> HttpResponse:
    form = StageForm(request.POST or None, instance=stage)
    shown = Stage.objects.filter(pk=stage.pk).first()  # the stored values, because the form changes its own instance
    if request.method == "POST" and form.is_valid():
        try:
            form.store(request.user)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, f"The stage {form.instance.name} was saved.")
            return redirect("stages")
    context = {"form": form, "edited": shown}
    return render(request, "organization/stage_form.html", context, status=422 if form.errors else 200)


def _set_archived(request: MemberRequest, stage: Stage, *, archived: bool) -> None:
    stage.archived = archived
    save_in_organization(stage, request.user)
