"""The question about held emails: deliver, keep or discard them."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from organization.forms import add_refusal
from organization.web.http import MemberRequest
from outbox.forms import DiscardForm
from outbox.holding.held_mail import Choice, answer, held_mail
from outbox.views.places import back, page_context, place_to_change, url_of

_DONE = {
    Choice.DELIVER: "{} will be routed again and delivered now.",
    Choice.KEEP: "{} stay held. You can deliver or discard them later.",
    Choice.DISCARD: "{} end as failed.",
}


@require_http_methods(["GET", "POST"])
def answer_held(request: MemberRequest, stage_key: str, app_key: str | None = None) -> HttpResponse:
    """Show the question; POST answers it. *Discard* asks first."""
    place = place_to_change(request, stage_key, app_key)
    if request.method == "POST":
        choice = request.POST.get("answer", "")
        if choice == Choice.DISCARD:
            return redirect(url_of(place, "held-mail-discard"))
        if choice not in (Choice.DELIVER, Choice.KEEP):
            messages.error(request, "Choose Deliver, Keep or Discard. Nothing was changed.")
            return back(place)
        try:
            question = answer(place, Choice(choice), request.user)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        else:
            messages.success(request, _DONE[Choice(choice)].format(question.emails))
        return back(place)
    return render(request, "outbox/held_mail.html", {**page_context(place, "held-mail"), "question": held_mail(place)})


@require_http_methods(["GET", "POST"])
def discard_held(request: MemberRequest, stage_key: str, app_key: str | None = None) -> HttpResponse:
    """Ask why, in a Production stage for its name too, and discard."""
    place = place_to_change(request, stage_key, app_key)
    assert place.stage is not None
    form = DiscardForm(request.POST if request.method == "POST" else None, place.stage)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            question = answer(
                place,
                Choice.DISCARD,
                request.user,
                reason=values["reason"],
                typed_stage_name=values.get("stage_name", ""),
            )
        except ValidationError as error:
            add_refusal(form, error)
        else:
            messages.success(request, _DONE[Choice.DISCARD].format(question.emails))
            return back(place)
    context = {**page_context(place, "held-mail-discard"), "question": held_mail(place), "form": form}
    return render(request, "outbox/confirm_discard_held.html", context, status=422 if form.errors else 200)
