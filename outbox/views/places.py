"""The stage, or the app in a stage, that a page about held or paused emails is about."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse

from organization.access import Scope, require
from organization.models import App, Stage
from organization.web.http import MemberRequest, StageLink, stage_links
from outbox.holding.held_mail import permissions_for


def place_to_change(request: MemberRequest, stage_key: str, app_key: str | None) -> Scope:
    """Raises Http404 and PermissionDenied."""
    stage = get_object_or_404(Stage, key=stage_key)
    place = Scope(get_object_or_404(App, key=app_key) if app_key else None, stage)
    require(request.user, place, *permissions_for(place))
    return place


def url_of(place: Scope, name: str) -> str:
    """The page called `name` about the stage, or called `app-…` about the app in it."""
    assert place.stage is not None
    return reverse(f"app-{name}", args=[place.app.key, place.stage.key]) if place.app else reverse(name, args=[place.stage.key])


def own_page(place: Scope) -> str:
    return url_of(place, "emails" if place.app else "email-configuration")


def back(place: Scope) -> HttpResponse:
    """To the page of the stage's email configuration, or of the app's emails."""
    return redirect(own_page(place))


def in_words(place: Scope) -> str:
    return f"{place.app} in {place.stage}" if place.app else str(place.stage)


def page_context(place: Scope, name: str) -> dict[str, Any]:
    assert place.stage is not None

    def other(stage: Stage) -> str:
        return url_of(Scope(place.app, stage), name)

    links: list[StageLink] = stage_links(place.stage, other)
    return {"app": place.app, "stage": place.stage, "place": in_words(place), "own_page": own_page(place), "stage_links": links}
