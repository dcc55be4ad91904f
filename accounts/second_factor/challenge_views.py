"""Ask for the second factor: of those who are signing in, and of those who are about to change their factors."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import authenticate, logout
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.second_factor.answer import AnswerForm, is_right_answer
from accounts.second_factor.confirmation import mark_confirmed
from accounts.second_factor.factors import has_second_factor
from accounts.second_factor.models import AuthenticatorApp
from accounts.second_factor.passkeys import ask_for_passkey
from accounts.second_factor.pending import end_pending, pending_sign_in
from accounts.second_factor.recovery_codes import FEW, recovery_codes_left
from accounts.second_factor.tries import TRIES, count_try, forget_tries, no_tries_left
from accounts.sign_in.completion import complete_sign_in
from organization.models import Member
from organization.web.http import MemberRequest


class ConfirmPasswordForm(forms.Form):
    password = forms.CharField(
        label="Your password", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )


@login_not_required
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def challenge(request: HttpRequest) -> HttpResponse:
    """The second step of signing in."""
    pending = pending_sign_in(request)
    if pending is None:
        messages.error(request, "Your sign-in has expired. Sign in again.")
        return redirect("login")
    form = AnswerForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and is_right_answer(request, pending.member, form):
        end_pending(request)
        if "recovery_code" in request.POST:
            _say_codes_left(request, pending.member)
        return complete_sign_in(request, pending.member, pending.next_url, how=f"{pending.how}, {form.kind}")
    if no_tries_left(request):
        end_pending(request)
        forget_tries(request)
        messages.error(request, f"{TRIES} answers were wrong. Sign in again.")
        return redirect("login")
    context = _answers(request, pending.member, form)
    return render(request, "accounts/second_factor/challenge.html", context, status=422 if form.errors else 200)


@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
def confirm(request: MemberRequest) -> HttpResponse:
    """Ask a signed-in member for the password or a second factor. Five wrong ones sign them out."""
    member, next_url = request.user, _next_url(request)
    is_factor = has_second_factor(member) and "password" not in request.POST
    form = AnswerForm(request.POST if request.method == "POST" and is_factor else None)
    password_form = ConfirmPasswordForm(request.POST if request.method == "POST" and not is_factor else None)
    if request.method == "POST":
        right = is_right_answer(request, member, form) if is_factor else _is_right_password(request, member, password_form)
        if right:
            mark_confirmed(request)
            return redirect(next_url)
        if no_tries_left(request):
            logout(request)
            messages.error(request, f"{TRIES} answers were wrong. You are signed out.")
            return redirect("login")
    context = {**_answers(request, member, form), "password_form": password_form, "next": next_url}
    bad = form.errors or password_form.errors
    return render(request, "accounts/second_factor/confirm.html", context, status=422 if bad else 200)


def _is_right_password(request: HttpRequest, member: Member, form: ConfirmPasswordForm) -> bool:
    """Checked as at sign-in, with all that slows guessers there."""
    count_try(request, member)
    if not form.is_valid():
        return False
    if authenticate(request, username=member.email, password=form.cleaned_data["password"]) != member:
        form.add_error("password", "This isn't your password.")
        return False
    forget_tries(request)
    return True


def _answers(request: HttpRequest, member: Member, form: AnswerForm) -> dict[str, Any]:
    """What the member can answer with."""
    factored = has_second_factor(member)
    return {
        "member": member,
        "form": form,
        "has_password": member.has_usable_password(),
        "has_factor": factored,
        "has_app": AuthenticatorApp.objects.filter(member=member).exists(),
        "passkey_options": ask_for_passkey(request, member),
    }


def _say_codes_left(request: HttpRequest, member: Member) -> None:
    left = recovery_codes_left(member)
    say = messages.warning if left < FEW else messages.info
    hint = " Make new ones: Profile, Second factor." if left < FEW else ""
    say(request, f"You have {left} recovery code{'' if left == 1 else 's'} left.{hint}")


def _next_url(request: HttpRequest) -> str:
    asked = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure())
    return asked if is_ours else reverse("second-factor")
