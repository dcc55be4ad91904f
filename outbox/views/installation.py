"""The installation: whether the database is a copy, the two answers, and the emails that came with a copy."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from organization.access import EVERYWHERE, allowed
from organization.forms import add_refusal
from organization.installation.identity import LABELS, identity
from organization.installation.seal import asking_copy, differences
from organization.models import Installation, Stage
from organization.permissions import Permission
from organization.web.http import MemberRequest, stage_links
from outbox.copies.answers import make_test_copy, names_of_database, replace_original
from outbox.copies.copied_mail import (
    answer_for_one,
    answer_for_stage,
    held_by_stage,
    held_copies,
    require_may_answer,
    unsent_by_stage,
)
from outbox.copies.noticing import note_what_came
from outbox.counts.backlog import Depth
from outbox.forms import DiscardForm, TestCopyForm
from outbox.holding.held_mail import Choice
from outbox.models import Message

_EMAILS_ON_A_PAGE = 50


@require_safe
def installation(request: MemberRequest) -> HttpResponse:
    """Ask while the database is a copy; else show what it is sealed with, and the emails that a copy left."""
    require_may_answer(request.user)
    copy = asking_copy()
    if copy is not None:
        return render(request, "outbox/copy.html", _question(note_what_came(copy)))
    parts = [(LABELS[name], part or "none") for name, part in identity().items()]
    context = {"parts": parts, "seal": Installation.objects.first(), "held": held_by_stage()}
    return render(request, "outbox/installation.html", context)


def _question(copy: Installation) -> dict[str, Any]:
    stages = unsent_by_stage(copy)
    changed = [(LABELS[name], before or "none", now or "none") for name, (before, now) in differences(copy).items()]
    return {
        "copy": copy,
        "changed": changed,
        "stages_with_mail": stages,
        "emails": sum(stage.emails for stage in stages),
        "on_the_wire": sum(stage.on_the_wire for stage in stages),
    }


@require_POST
def replaces_original(request: MemberRequest) -> HttpResponse:
    try:
        held = replace_original(request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        emails = f"{held:,} {'email stays' if held == 1 else 'emails stay'} held until you have looked." if held else ""
        messages.success(request, f"This installation replaces the original. {emails}")
    return redirect("installation")


@require_http_methods(["GET", "POST"])
def test_copy(request: MemberRequest) -> HttpResponse:
    """Ask for the database's name, and make this a test copy."""
    require_may_answer(request.user)
    if asking_copy() is None:
        return redirect("installation")
    form = TestCopyForm(request.POST if request.method == "POST" else None, names_of_database())
    if request.method == "POST" and form.is_valid():
        try:
            make_test_copy(request.user, form.cleaned_data["database"], keep_session=request.session.session_key or "")
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, "This is a test copy now. Every stage captures its emails.")
            return redirect("installation")
    return render(request, "outbox/confirm_test_copy.html", {"form": form}, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def copied_mail(request: MemberRequest, stage_key: str) -> HttpResponse:
    """The emails of a stage that came with a copy. POST delivers them all."""
    require_may_answer(request.user)
    stage = get_object_or_404(Stage, key=stage_key)
    if request.method == "POST":
        try:
            emails = answer_for_stage(stage, Choice.DELIVER, request.user)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        else:
            messages.success(request, f"{Depth(emails).emails} will be routed again and delivered now.")
        return redirect("copied-mail", stage.key)
    held = held_copies().filter(stage=stage).select_related("app").order_by("-pk")
    page = Paginator(held, _EMAILS_ON_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "stage": stage,
        "stage_links": stage_links(stage, lambda other: reverse("copied-mail", args=[other.key])),
        "seal": Installation.objects.first(),
        "page": page,
        "newer_url": f"?page={page.previous_page_number()}" if page.has_previous() else "",
        "older_url": f"?page={page.next_page_number()}" if page.has_next() else "",
        "sees_subjects": allowed(request.user, EVERYWHERE, Permission.ACCESS_ASSET_LOGS),
    }
    return render(request, "outbox/copied_mail.html", context)


@require_http_methods(["GET", "POST"])
def discard_copied(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Ask why, in a Production stage for its name too, and discard all of a stage's."""
    require_may_answer(request.user)
    stage = get_object_or_404(Stage, key=stage_key)
    form = DiscardForm(request.POST if request.method == "POST" else None, stage)
    if request.method == "POST" and form.is_valid():
        reason, typed = form.cleaned_data["reason"], form.cleaned_data.get("stage_name", "")
        try:
            emails = answer_for_stage(stage, Choice.DISCARD, request.user, reason=reason, typed_stage_name=typed)
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, f"{Depth(emails).emails} end as failed.")
            return redirect("copied-mail", stage.key)
    context = {"stage": stage, "form": form, "emails": held_copies().filter(stage=stage).count()}
    return render(request, "outbox/confirm_discard_copied.html", context, status=422 if form.errors else 200)


@require_POST
def answer_copied(request: MemberRequest, stage_key: str, message_id: int) -> HttpResponse:
    """Deliver or discard one email."""
    require_may_answer(request.user)
    message = get_object_or_404(Message, pk=message_id, stage__key=stage_key)
    choice = request.POST.get("answer", "")
    try:
        if choice not in (Choice.DELIVER, Choice.DISCARD):
            raise ValidationError("Choose Deliver or Discard. Nothing was changed.")
        answer_for_one(message, Choice(choice), request.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        done = "will be delivered now" if choice == Choice.DELIVER else "ends as failed"
        messages.success(request, f"Email #{message.pk} {done}.")
    return redirect("copied-mail", stage_key)
