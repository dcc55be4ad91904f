"""Email configurations: choose a stage; view, edit and delete its SMTP settings."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from emailconfig.forms import DeleteForm, RecipientForm, SmtpSettingsPageForm
from emailconfig.models import SmtpSettings
from emailconfig.presets import PRESETS, Preset, preset_of
from emailconfig.services import delete_smtp_settings, save_smtp_settings, settings_of
from organization.access import Scope, allowed, require
from organization.audit.views import audit_trail_of
from organization.models import Stage
from organization.permissions import Permission
from organization.web.http import MemberRequest, StageLink, search_words, stage_links

_UNENCRYPTED = (
    "Without encryption, anyone on the network between the portal and the server can read and change the emails. Use it only "
    "for a server on this machine or in a network that you trust."
)
# The end of a client secret isn't copied, as the secret isn't.
_COPIED_FIELDS = [name for name in SmtpSettingsPageForm.Meta.fields if name != "secret_ends"]


@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """List all stages and their email configurations."""
    stages = Stage.objects.filter(archived=False)
    settings = {stage_settings.stage_id: stage_settings for stage_settings in SmtpSettings.objects.filter(stage__in=stages)}
    return render(request, "emailconfig/choose.html", {"rows": [(stage, settings.get(stage.pk)) for stage in stages]})


@require_safe
def view(request: MemberRequest, stage_key: str) -> HttpResponse:
    """View mode: every member may read the settings, but not the secrets."""
    stage = get_object_or_404(Stage, key=stage_key)
    others = Stage.objects.filter(archived=False).exclude(pk=stage.pk)
    context = {
        "stage": stage,
        "stage_links": _stage_links(stage, "email-configuration"),
        "copy_targets": [other for other in others if _can_edit(request, other)],
        "recipient_form": RecipientForm(),
        "settings": settings_of(stage),
        "unencrypted_warning": _UNENCRYPTED,
        "kept_headers": stage.kept_headers.all(),
        "allowed_count": stage.allowed_addresses.count(),
        "can_edit": _can_edit(request, stage),
        "audit_trail_url": audit_trail_of(request.user, SmtpSettings, stage),
    }
    return render(request, "emailconfig/settings.html", context)


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password", "client_secret")
def edit(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Edit mode: the form, which can start with a preset or another stage's settings."""
    stage = _stage_to_change(request, stage_key)
    settings = settings_of(stage) or SmtpSettings(stage=stage)
    preset = preset_of(request.GET.get("preset", ""))
    source = _source_of_copy(request, stage)
    form = SmtpSettingsPageForm(request.POST or None, instance=settings, initial=_proposed(settings, preset, source))
    if request.method == "POST" and form.is_valid():
        try:
            save_smtp_settings(form.instance, request.user)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            applies = "It applies to all apps from the next email on, including waiting emails."
            messages.success(request, f"The email configuration of {stage.name} was saved. {applies}")
            return redirect("email-configuration", stage.key)
    context = {
        "stage": stage,
        "stage_links": _stage_links(stage, "email-configuration-edit"),
        "form": form,
        "recipient_form": RecipientForm(),
        "presets": PRESETS,
        "preset": preset,
        "unencrypted_warning": _UNENCRYPTED,
        **(_copy_context(source, settings) if source else {}),
    }
    return render(request, "emailconfig/settings_edit.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def delete(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Say what deleting means, ask for confirmation, and delete."""
    stage = _stage_to_change(request, stage_key)
    settings = settings_of(stage)
    if settings is None:
        messages.error(request, f"{stage.name} has no email configuration.")
        return redirect("email-configuration", stage.key)
    form = DeleteForm(request.POST if request.method == "POST" else None, settings)
    if request.method == "POST" and form.is_valid():
        try:
            delete_smtp_settings(stage, request.user, expected_version=form.cleaned_data["version"])
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"The email configuration of {stage.name} was deleted. Its emails are held from now on.")
            return redirect("email-configuration", stage.key)
    context = {"stage": stage, "settings": settings, "form": form}
    return render(request, "emailconfig/confirm_settings_delete.html", context, status=422 if form.errors else 200)


def _can_edit(request: MemberRequest, stage: Stage) -> bool:
    return allowed(request.user, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)


def _stage_to_change(request: MemberRequest, key: str) -> Stage:
    stage = get_object_or_404(Stage, key=key)
    require(request.user, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    return stage


def _source_of_copy(request: MemberRequest, target: Stage) -> SmtpSettings | None:
    """The settings of another stage (`?copy_from=`) to start with, never their secret."""
    key = search_words(request.GET, "copy_from")
    return SmtpSettings.objects.filter(stage__key=key).exclude(stage=target).select_related("stage").first() if key else None


def _copy_context(source: SmtpSettings, target: SmtpSettings) -> dict[str, Any]:
    """What the page says about settings that the form shows as those of `target`."""
    stored = settings_of(target.stage)  # not `target`, which the form changes
    changes = [
        {
            "label": SmtpSettingsPageForm.base_fields[name].label,
            "now": _in_words(stored, name),
            "after": _in_words(source, name),
        }
        for name in _COPIED_FIELDS
        if _in_words(stored or SmtpSettings(), name) != _in_words(source, name)
    ]
    keeps_secret = stored is not None and stored.destination == source.destination
    has_secret = source.authentication != SmtpSettings.Authentication.NONE and not keeps_secret
    secret = source.secret_field.replace("_", " ") if has_secret else ""
    return {"copied_from": source.stage, "changes": changes, "needs_secret": secret}


def _in_words(settings: SmtpSettings | None, name: str) -> str:
    """The value of a field, for people."""
    if settings is None:
        return "–"
    if name == "ca_certificate":
        return "Stored" if settings.ca_certificate else "–"
    display = getattr(settings, f"get_{name}_display", None)
    return str(display() if display else getattr(settings, name)) or "–"


def _proposed(settings: SmtpSettings, preset: Preset | None, source: SmtpSettings | None) -> dict[str, Any]:
    """The values that the form shows instead of the stored ones.

    If a preset changes the authentication, the username is emptied, because it is a different one.
    """
    if source:
        return {name: getattr(source, name) for name in _COPIED_FIELDS}
    if preset is None:
        return {}
    same_user = preset.values["authentication"] == settings.authentication
    return dict(preset.values) if same_user else {**preset.values, "username": ""}


def _stage_links(current: Stage, url_name: str) -> list[StageLink]:
    return stage_links(current, lambda stage: reverse(url_name, args=[stage.key]))
