"""Apps (grid, create, edit), an app's credentials, and the member's own profile."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from organization.access import EVERYWHERE, Scope, allowed, require
from organization.forms import AppForm, add_refusal
from organization.models import App
from organization.permissions import Permission
from organization.services import save_app
from organization.web.http import MemberRequest, search_words
from organization.web.last_stage import last_stage, stage_to_start_in


@require_safe
def apps(request: MemberRequest) -> HttpResponse:
    query = search_words(request.GET, "q")
    visible_apps = App.objects.without_built_in().filter(archived=False)
    if query:
        visible_apps = visible_apps.filter(Q(name__icontains=query) | Q(key__icontains=query))
    can_create = allowed(request.user, EVERYWHERE, Permission.CREATE_APPS)
    return render(request, "organization/apps.html", {"apps": visible_apps, "query": query, "can_create": can_create})


@require_http_methods(["GET", "POST"])
def create_app(request: MemberRequest) -> HttpResponse:
    require(request.user, EVERYWHERE, Permission.CREATE_APPS)
    return _edit(request, App())


@require_http_methods(["GET", "POST"])
def edit_app(request: MemberRequest, app_key: str) -> HttpResponse:
    app = get_object_or_404(App.objects.without_built_in(), key=app_key)
    require(request.user, Scope(app=app), Permission.CHANGE_APPS)
    return _edit(request, app)


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
            start = stage_to_start_in(request) if shown is None else None
            return redirect("app-emails", form.instance.key, start.key) if start else redirect("app", form.instance.key)
    return render(request, "organization/app_form.html", {"form": form, "app": shown}, status=422 if form.errors else 200)


@require_safe
def app(request: MemberRequest, app_key: str) -> HttpResponse:
    """Open an app at Configuration, Emails, in the stage that was shown last."""
    app = get_object_or_404(App, key=app_key)
    stage = last_stage(request)
    if stage is None:
        messages.warning(request, "There is no stage yet. An administrator creates the first one under Management, Stages.")
        return redirect("apps")
    return redirect("app-emails", app.key, stage.key)
