"""Email configurations: choose a stage, view its SMTP settings, edit them."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from emailconfig.forms import SmtpSettingsForm
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.http import MemberRequest, StageLink, stage_links
from organization.models import Stage
from organization.permissions import Permission, Scope, allowed, require


@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """All stages with what each is configured to."""
    stages = Stage.objects.filter(archived=False)
    settings = {found.stage_id: found for found in SmtpSettings.objects.filter(stage__in=stages)}
    return render(request, "emailconfig/choose.html", {"rows": [(stage, settings.get(stage.pk)) for stage in stages]})


@require_safe
def view(request: MemberRequest, stage: str) -> HttpResponse:
    """View mode: every member may read, nobody sees a secret."""
    found = get_object_or_404(Stage, key=stage)
    context = {
        "stage": found,
        "stage_links": _stage_links(found, "email-configuration"),
        "settings": settings_of(found),
        "can_edit": allowed(request.user, Scope(stage=found), Permission.MANAGE_EMAIL_CONFIGURATIONS),
    }
    return render(request, "emailconfig/settings.html", context)


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password")
def edit(request: MemberRequest, stage: str) -> HttpResponse:
    """Edit mode: the form, and its Save."""
    found = get_object_or_404(Stage, key=stage)
    require(request.user, Scope(stage=found), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    settings = settings_of(found) or SmtpSettings(stage=found)
    form = SmtpSettingsForm(request.POST or None, instance=settings)
    if request.method == "POST" and form.is_valid():
        try:
            save_smtp_settings(form.instance, request.user)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(
                request, f"The email configuration of {found.name} was saved. It applies to all apps from the next mail on."
            )
            return redirect("email-configuration", found.key)
    context = {"stage": found, "stage_links": _stage_links(found, "email-configuration-edit"), "form": form}
    return render(request, "emailconfig/settings_edit.html", context, status=422 if form.errors else 200)


def _stage_links(current: Stage, url_name: str) -> list[StageLink]:
    return stage_links(current, lambda stage: reverse(url_name, args=[stage.key]))
