"""What a recipient policy would have done: the page that is asked before the policy is saved. Nothing is changed."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from organization.models import Stage
from organization.recipient_policy.policy import RecipientPolicy
from organization.web.http import MemberRequest, stage_links
from outbox.access.visibility import log_access
from outbox.forms import PolicyEffectForm
from outbox.policy_effect import READ_AT_MOST, effect_of

_DAYS = {"yesterday": 1, "7d": 7, "30d": 30}


@require_safe
def policy_effect(request: MemberRequest, stage_key: str) -> HttpResponse:
    """For members who may read the log of an app in the stage, over the emails of those apps."""
    stage = get_object_or_404(Stage, key=stage_key)
    access = log_access(request.user, stage)
    form = PolicyEffectForm(request.GET or None, initial={"policy": RecipientPolicy.LISTED_ONLY, "since": "7d"})
    context = {
        "stage": stage,
        "stage_links": stage_links(stage, lambda other: reverse("policy-effect", args=[other.key])),
        "form": form,
        "every_app": access.every_app,
        "read_at_most": READ_AT_MOST,
    }
    if form.is_bound and form.is_valid():
        policy = RecipientPolicy(form.cleaned_data["policy"])
        since = _start(form.cleaned_data["since"])
        context |= {"policy": policy, "since": since, "effect": effect_of(policy, access, since)}
    template = "outbox/_policy_effect.html" if request.htmx else "outbox/policy_effect.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _start(since: str) -> datetime:
    """The beginning of a day in the member's time zone."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=_DAYS[since])
