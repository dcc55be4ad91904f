"""“Where would this email go?”: the decision for each recipient, by the same route() as in delivery. Nothing is sent."""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from common.clock import database_now
from organization.models import App, Stage
from organization.recipient_policy.policy import RecipientPolicy
from organization.recipient_policy.reading import policy_of
from organization.web.http import MemberRequest, stage_links
from outbox.forms import SimulationForm
from outbox.models import RouteKind
from outbox.routing import route
from testlists.models import TestList
from testlists.services import sees_addresses, test_list_of
from testlists.state import ListState, state_of


@require_safe
def simulate(request: MemberRequest, app_key: str, stage_key: str) -> HttpResponse:
    """Show where an email would go. Every member may ask, and the list's people are masked as on the list's own page."""
    found_app = get_object_or_404(App.objects.without_built_in(), key=app_key)
    found_stage = get_object_or_404(Stage, key=stage_key)
    test_list = test_list_of(found_app, found_stage)
    form = SimulationForm(request.GET if "to" in request.GET else None)
    is_complete = form.is_bound and form.is_valid()
    policy, now = policy_of(found_stage), database_now()
    if is_complete and form.cleaned_data["policy"]:
        policy = replace(policy, policy=RecipientPolicy(form.cleaned_data["policy"]))
    decided = route(form.recipients(), _as_if(test_list, form.cleaned_data["as_if"]), policy) if is_complete else None
    is_open = sees_addresses(request.user, found_app, found_stage)
    context = {
        "app": found_app,
        "stage": found_stage,
        "stage_links": stage_links(found_stage, lambda other: reverse("route-simulator", args=[found_app.key, other.key])),
        "test_list": test_list,
        "is_active": test_list.is_active(now),
        "is_expired": test_list.is_expired(now),
        "form": form,
        "route": decided,
        "sees_addresses": is_open or (decided is not None and decided.kind != RouteKind.TEST_LIST),
    }
    return render(request, "outbox/simulator.html", context, status=422 if form.errors else 200)


def _as_if(test_list: TestList, as_if: str) -> ListState:
    if not as_if:
        return state_of(test_list, database_now())
    people = tuple(test_list.people())
    return ListState(as_if == "active", people, test_list.version, test_list.active_version, expired=as_if == "expired")
