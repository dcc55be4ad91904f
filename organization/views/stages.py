"""Stages: create, rename, order, archive and restore."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from organization.access import EVERYWHERE, require
from organization.forms import StageConfirmation, StageForm, add_refusal
from organization.http import MemberRequest
from organization.models import Stage
from organization.permissions import Permission
from organization.services import move_stage, save_in_organization


@require_safe
def stages(request: MemberRequest) -> HttpResponse:
    _require(request)
    return render(request, "organization/stages.html", {"stages": Stage.objects.all()})


@require_http_methods(["GET", "POST"])
def create_stage(request: MemberRequest) -> HttpResponse:
    _require(request)
    last = Stage.objects.last()
    return _edit(request, Stage(order=last.order + 1 if last else 1))


@require_http_methods(["GET", "POST"])
def edit_stage(request: MemberRequest, stage: str) -> HttpResponse:
    _require(request)
    return _edit(request, get_object_or_404(Stage, key=stage))


@require_POST
def move(request: MemberRequest, stage: str, by: int) -> HttpResponse:
    """Move a stage one place up or down in the order of all stage selectors."""
    move_stage(get_object_or_404(Stage, key=stage), by, request.user)
    return redirect("stages")


@require_http_methods(["GET", "POST"])
def archive(request: MemberRequest, stage: str) -> HttpResponse:
    """Say what archiving means, ask for confirmation, and archive."""
    _require(request)
    found = get_object_or_404(Stage, key=stage)
    form = StageConfirmation(request.POST if request.method == "POST" else None, found)
    if request.method == "POST" and form.is_valid():
        try:
            _set_archived(request, found, archived=True)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, f"{found.name} was archived. It no longer accepts emails.")
            return redirect("stages")
    return render(
        request, "organization/confirm_stage_archive.html", {"stage": found, "form": form}, status=422 if form.errors else 200
    )


@require_POST
def restore(request: MemberRequest, stage: str) -> HttpResponse:
    found = get_object_or_404(Stage, key=stage)
    try:
        _set_archived(request, found, archived=False)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{found.name} accepts emails again.")
    return redirect("stages")


def _require(request: MemberRequest) -> None:
    require(request.user, EVERYWHERE, Permission.MANAGE_ORGANIZATION)


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
