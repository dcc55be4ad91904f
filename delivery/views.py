"""The view with which a person resumes a stage's deliveries."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from delivery import backoff
from organization.models import Stage
from organization.web.http import MemberRequest


@require_POST
def resume(request: MemberRequest, stage_key: str) -> HttpResponse:
    """Try the stage's server again at once, and go back to the page with the button."""
    stage = get_object_or_404(Stage, key=stage_key)
    backoff.resume(stage, request.user)
    messages.success(request, f"Deliveries of {stage.name} were resumed: its server is being tried now.")
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        return redirect(back)
    return redirect("email-configuration", stage.key)
