"""The page with the header fields that a stage's test mail keeps."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from organization.access import Scope, require
from organization.kept_headers.changes import keep_header, may_change, stop_keeping_header
from organization.models import KeptHeader, Stage
from organization.permissions import Permission
from organization.stage_name import check_stage_name
from organization.web.http import MemberRequest, stage_links


class KeptHeaderForm(forms.ModelForm[KeptHeader]):
    stage_name = forms.CharField(
        label="Name of the stage",
        max_length=100,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": "Type the stage's name to confirm."},
    )

    class Meta:
        model = KeptHeader
        fields = ("name",)
        labels = {"name": "Name of the field"}
        widgets = {"name": forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"})}

    def __init__(self, data: Any, stage: Stage) -> None:
        super().__init__(data, instance=KeptHeader(stage=stage))
        self.fields["stage_name"].help_text = f"Test mail will keep one more header field. Type “{stage.name}” to confirm."

    def clean_stage_name(self) -> str:
        typed: str = self.cleaned_data["stage_name"]
        check_stage_name(self.instance.stage, typed)
        return typed


@require_http_methods(["GET", "POST"])
def kept_headers(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Show the kept header fields, which every member may read, and add one."""
    stage = get_object_or_404(Stage, key=stage_key)
    if request.method == "POST":
        require(request.user, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    form = KeptHeaderForm(request.POST if request.method == "POST" else None, stage)
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        try:
            kept = keep_header(stage, typed["name"], request.user, typed_stage_name=typed["stage_name"])
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"Test mail of {stage.name} will keep {kept.name} from the next email on.")
            return redirect("kept-headers", stage.key)
    context = {
        "stage": stage,
        "stage_links": stage_links(stage, lambda other: reverse("kept-headers", args=[other.key])),
        "kept_headers": stage.kept_headers.all(),
        "can_change": may_change(request.user, stage),
        "form": form,
    }
    return render(request, "emailconfig/kept_headers.html", context, status=422 if form.errors else 200)


@require_POST
def kept_header_remove(request: MemberRequest, stage_key: str, kept_id: int) -> HttpResponse:
    kept_header = get_object_or_404(KeptHeader.objects.select_related("stage"), pk=kept_id, stage__key=stage_key)
    stop_keeping_header(kept_header, request.user)
    messages.success(request, f"Test mail of {kept_header.stage.name} no longer keeps {kept_header.name}.")
    return redirect("kept-headers", kept_header.stage.key)
