"""Apps (grid, create, edit), an app's credentials, and the member's own profile."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from organization.access import EVERYWHERE, Scope, allowed, require
from organization.credentials import MAY_MANAGE, create_credential, revoke_credential
from organization.forms import AppForm, ProfileForm, add_refusal
from organization.http import MemberRequest, gateway_context, search_words
from organization.last_stage import last_stage
from organization.members import save_profile
from organization.models import App, Credential, Member, Stage
from organization.permissions import Permission
from organization.services import save_app


@require_safe
def apps(request: MemberRequest) -> HttpResponse:
    query = search_words(request.GET, "q")
    found = App.objects.filter(archived=False)
    if query:
        found = found.filter(Q(name__icontains=query) | Q(key__icontains=query))
    can_create = allowed(request.user, EVERYWHERE, Permission.MANAGE_APPS)
    return render(request, "organization/apps.html", {"apps": found, "query": query, "can_create": can_create})


@require_http_methods(["GET", "POST"])
def create_app(request: MemberRequest) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.MANAGE_APPS)
    return _edit(request, App())


@require_http_methods(["GET", "POST"])
def edit_app(request: MemberRequest, app: str) -> HttpResponse:
    found = get_object_or_404(App, key=app)
    require(request.user, Scope(app=found), Permission.MANAGE_APPS)
    return _edit(request, found)


def _edit(request: MemberRequest, app: App) -> HttpResponse:
    form = AppForm(request.POST or None, instance=app)
    shown = App.objects.filter(pk=app.pk).first()  # the stored values, because the form changes its own instance
    if request.method == "POST" and form.is_valid():
        try:
            save_app(form.instance, request.user)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, f"The app {form.instance.name} was saved.")
            return redirect("app", form.instance.key)
    return render(request, "organization/app_form.html", {"form": form, "app": shown}, status=422 if form.errors else 200)


@require_safe
def app(request: MemberRequest, app: str) -> HttpResponse:
    """Open an app at Configuration, Emails, in the stage that was shown last."""
    found = get_object_or_404(App, key=app)
    stage = last_stage(request)
    if stage is None:
        messages.warning(request, "There is no stage yet. An administrator creates the first one under Management, Stages.")
        return redirect("apps")
    return redirect("app-emails", found.key, stage.key)


@require_POST
@never_cache
@sensitive_variables("new", "context")
def credential_create(request: MemberRequest, app: str, stage: str) -> HttpResponse:
    """Create a credential and show its secret once.

    The response is the page itself instead of a redirect, so that the secret is stored nowhere.
    """
    found_app, found_stage = get_object_or_404(App, key=app), get_object_or_404(Stage, key=stage)
    require(request.user, Scope(found_app, found_stage), *MAY_MANAGE)
    try:
        new = create_credential(found_app, found_stage, request.user, request.POST.get("name", "").strip() or "Default")
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("app-emails", found_app.key, found_stage.key)
    context = {
        "app": found_app,
        "stage": found_stage,
        "credential": new.credential,
        "password": new.password,
        **gateway_context(),
    }
    return render(request, "organization/credential_created.html", context)


@require_http_methods(["GET", "POST"])
def credential_revoke(request: MemberRequest, app: str, stage: str, credential: int) -> HttpResponse:
    """Ask for confirmation, then revoke."""
    found = get_object_or_404(Credential.objects.select_related("app", "stage"), pk=credential, app__key=app, stage__key=stage)
    require(request.user, Scope(found.app, found.stage), *MAY_MANAGE)
    if request.method == "POST":
        revoke_credential(found, request.user)
        messages.success(request, f"The credential {found.username} was revoked. No app can sign in with it.")
        return redirect("app-emails", found.app.key, found.stage.key)
    context = {"app": found.app, "stage": found.stage, "credential": found}
    return render(request, "organization/confirm_credential_revoke.html", context)


@require_http_methods(["GET", "POST"])
def profile(request: MemberRequest) -> HttpResponse:
    member = Member.objects.get(
        pk=request.user.pk
    )  # not the request's instance, because a form changes its instance before it is valid
    form = ProfileForm(request.POST or None, instance=member)
    if request.method == "POST" and form.is_valid():
        try:
            save_profile(form.instance)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, "Your profile was saved.")
            return redirect("profile")
    return render(request, "organization/profile.html", {"form": form}, status=422 if form.errors else 200)
