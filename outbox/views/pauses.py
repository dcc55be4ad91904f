"""Pause and Resume, of a stage's emails or of one app's in it."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST

from organization.forms import add_refusal
from organization.web.http import MemberRequest
from outbox.forms import PauseForm
from outbox.holding.pauses import pause, resume, wait_until_none_in_flight
from outbox.views.places import back, in_words, page_context, place_to_change


@require_http_methods(["GET", "POST"])
def pause_emails(request: MemberRequest, stage_key: str, app_key: str | None = None) -> HttpResponse:
    """Ask why, and pause."""
    place = place_to_change(request, stage_key, app_key)
    form = PauseForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            pause(place, form.cleaned_data["reason"], request.user)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            leaving = wait_until_none_in_flight(place)
            still = f" {leaving} email(s) handed to the server before are still being sent." if leaving else ""
            say = messages.warning if leaving else messages.success
            say(request, f"{in_words(place)} is paused. Its emails are accepted and held until you resume.{still}")
            return back(place)
    context = {**page_context(place, "pause"), "form": form}
    return render(request, "outbox/pause.html", context, status=422 if form.errors else 200)


@require_POST
def resume_emails(request: MemberRequest, stage_key: str, app_key: str | None = None) -> HttpResponse:
    """What a short pause held goes; about the rest the page asks."""
    place = place_to_change(request, stage_key, app_key)
    try:
        question = resume(place, request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        held = f" {question.emails} {question.was} held meanwhile. Decide below." if question else ""
        messages.success(request, f"{in_words(place)} isn't paused any more.{held}")
    return back(place)
