"""The pages for a forgotten password: ask for a link, and choose a new password through it."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from accounts.links import Purpose
from accounts.own_mail.sending import why_no_email
from accounts.passwords.forms import ResetForm
from accounts.passwords.link_page import answer_link
from accounts.passwords.reset import request_reset
from organization.throttle.attempts import limit_use
from organization.throttle.models import Secret
from organization.throttle.networks import client_of


@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def password_reset(request: HttpRequest) -> HttpResponse:
    """Take an address. The answer is the same whether a member has it or not. Raises TooManyFailures."""
    if why_no_email():
        return render(request, "accounts/password_reset.html", {"no_email": True})
    form = ResetForm(request.POST or None)
    is_sent = request.method == "POST" and form.is_valid()
    if is_sent:
        limit_use(Secret.RESET, form.cleaned_data["email"], client_of(request))
        request_reset(form.cleaned_data["email"])
    context = {"form": form, "is_sent": is_sent}
    return render(request, "accounts/password_reset.html", context, status=422 if form.errors else 200)


@login_not_required
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@sensitive_post_parameters()
@sensitive_variables("token")
def password_reset_link(request: HttpRequest, token: str) -> HttpResponse:
    return answer_link(request, Purpose.PASSWORD_RESET, token)
