"""The credentials of an app in a stage: create, change, revoke."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from organization.access import Scope, require
from organization.credentials import MAY_MANAGE, NewCredential, change_credential, create_credential, revoke_credential
from organization.forms import CredentialForm, add_refusal
from organization.models import App, Credential, Stage
from organization.web.http import MemberRequest, gateway_context


@require_POST
@never_cache
@sensitive_variables("new", "shown")
def credential_create(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """Create a credential and show its secret once.

    The response is the page itself instead of a redirect, so that the secret is stored nowhere.
    """
    app, stage = get_object_or_404(App, key=app_key), get_object_or_404(Stage, key=stage_key)
    require(request.user, Scope(app, stage), *MAY_MANAGE)
    form = CredentialForm(request.POST, instance=Credential(app=app, stage=stage))
    new = _created(form, request) if form.is_valid() else None
    if new is None:
        context = {"form": form, "app": app, "stage": stage}
        return render(request, "organization/credential_form.html", context, status=422)
    shown = {"app": app, "stage": stage, "credential": new.credential, "password": new.password, **gateway_context()}
    return render(request, "organization/credential_created.html", shown)


def _created(form: CredentialForm, request: MemberRequest) -> NewCredential | None:
    values = form.instance
    try:
        return create_credential(values.app, values.stage, request.user, values.name, ends=values.ends, networks=values.networks)
    except ValidationError as error:
        add_refusal(form, error)
        return None


@require_http_methods(["GET", "POST"])
def credential_edit(request: MemberRequest, app_key: str, stage_key: str, credential_id: int) -> HttpResponse:
    credential = _credential(request, app_key, stage_key, credential_id)
    form = CredentialForm(request.POST or None, instance=credential)
    if request.method == "POST" and form.is_valid():
        try:
            change_credential(form.instance, request.user)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, f"The credential {credential.username} was saved.")
            return redirect("app-emails", app_key, stage_key)
    context = {"form": form, "app": credential.app, "stage": credential.stage, "credential": credential}
    return render(request, "organization/credential_form.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def credential_revoke(request: MemberRequest, app_key: str, stage_key: str, credential_id: int) -> HttpResponse:
    """Ask for confirmation, then revoke."""
    credential = _credential(request, app_key, stage_key, credential_id)
    if request.method == "POST":
        revoke_credential(credential, request.user)
        messages.success(request, f"The credential {credential.username} was revoked. No app can sign in with it.")
        return redirect("app-emails", credential.app.key, credential.stage.key)
    context = {"app": credential.app, "stage": credential.stage, "credential": credential}
    return render(request, "organization/confirm_credential_revoke.html", context)


def _credential(request: MemberRequest, app_key: str, stage_key: str, credential_id: int) -> Credential:
    """The credential, for members who may manage it. Raises Http404 or PermissionDenied."""
    rows = Credential.objects.select_related("app", "stage")
    credential = get_object_or_404(rows, pk=credential_id, app__key=app_key, stage__key=stage_key)
    require(request.user, Scope(credential.app, credential.stage), *MAY_MANAGE)
    return credential
