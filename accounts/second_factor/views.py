"""One's own second factors: which there are, set up, add and remove, and new recovery codes."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from accounts.exceptions import WrongSecondFactor
from accounts.second_factor.answer import NEEDS_JAVASCRIPT, CodeField
from accounts.second_factor.confirmation import after_confirmation
from accounts.second_factor.factors import (
    Changed,
    add_passkey,
    has_second_factor,
    keep_authenticator_app,
    remove_factor,
    renew_recovery_codes,
    roles_that_require_one,
)
from accounts.second_factor.gate import WANTED
from accounts.second_factor.models import AuthenticatorApp, Passkey
from accounts.second_factor.passkeys import ask_for_new_passkey, read_new_passkey, why_no_passkeys
from accounts.second_factor.recovery_codes import FEW, recovery_codes_left
from accounts.second_factor.totp import matching_step, new_secret, qr_code, setup_uri
from common.encryption import decrypt, encrypt
from organization.forms import add_refusal
from organization.web.http import MemberRequest

_NEW_SECRET = "new_authenticator_secret"
_ELSEWHERE = "You are signed out everywhere else."


class CodeForm(forms.Form):
    code = CodeField()


class PasskeyForm(forms.ModelForm[Passkey]):
    passkey = forms.CharField(max_length=20_000, widget=forms.HiddenInput, error_messages={"required": NEEDS_JAVASCRIPT})

    class Meta:
        model = Passkey
        fields = ("label",)


@require_safe
def second_factor(request: MemberRequest) -> HttpResponse:
    """What the member has. One who must set a factor up sees only that."""
    member = request.user
    roles, left = roles_that_require_one(member), recovery_codes_left(member)
    context: dict[str, Any] = {
        "app": AuthenticatorApp.objects.filter(member=member).first(),
        "passkeys": list(Passkey.objects.filter(member=member)),
        "codes_left": left,
        "few_codes": left < FEW,
        "roles": roles,
        "why_no_passkeys": why_no_passkeys(),
    }
    context["has_factor"] = bool(context["app"] or context["passkeys"])
    must = roles and not context["has_factor"]
    return render(request, f"accounts/second_factor/{'required' if must else 'overview'}.html", context)


@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
@after_confirmation
def authenticator_app(request: MemberRequest) -> HttpResponse:
    """Show a new secret, and store it when the member has typed a code that was made from it."""
    secret = _secret_of_this_page(request)
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        step = matching_step(secret, form.cleaned_data["code"])
        if step is not None:
            del request.session[_NEW_SECRET]
            return _changed(request, keep_authenticator_app(request.user, secret, step), "Your authenticator app is set up.")
        form.add_error("code", "This code isn't right. Enter the six digits that your app shows now, and check its time.")
    context = {
        "form": form,
        "qr_code": mark_safe(qr_code(setup_uri(secret, request.user))),  # noqa: S308 - segno's own SVG, of paths alone
        "secret": " ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        "replaces": AuthenticatorApp.objects.filter(member=request.user).exists(),
    }
    return render(request, "accounts/second_factor/authenticator_app.html", context, status=422 if form.errors else 200)


def _secret_of_this_page(request: MemberRequest) -> str:
    """It stays the same until it is stored. The session, which is in the database too, has it encrypted."""
    if _NEW_SECRET not in request.session:
        request.session[_NEW_SECRET] = encrypt(new_secret())
    return decrypt(request.session[_NEW_SECRET])


@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
@after_confirmation
def passkey_add(request: MemberRequest) -> HttpResponse:
    if why := why_no_passkeys():
        messages.error(request, why)
        return redirect("second-factor")
    form = PasskeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            passkey = read_new_passkey(request, form.cleaned_data["passkey"])
            passkey.label = form.cleaned_data["label"]
            return _changed(request, add_passkey(request.user, passkey), f"The passkey “{passkey.label}” was added.")
        except WrongSecondFactor as error:
            form.add_error("passkey", str(error))
        except ValidationError as error:
            add_refusal(form, error)
    context = {"form": form, "options": ask_for_new_passkey(request, request.user)}
    return render(request, "accounts/second_factor/passkey_add.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "POST"])
@after_confirmation
def authenticator_app_remove(request: MemberRequest) -> HttpResponse:
    return _remove(request, get_object_or_404(AuthenticatorApp, member=request.user), "your authenticator app")


@require_http_methods(["GET", "POST"])
@after_confirmation
def passkey_remove(request: MemberRequest, passkey_id: int) -> HttpResponse:
    passkey = get_object_or_404(Passkey, pk=passkey_id, member=request.user)
    return _remove(request, passkey, f"the passkey “{passkey.label}”")


def _remove(request: MemberRequest, factor: AuthenticatorApp | Passkey, words: str) -> HttpResponse:
    """Ask for confirmation, and remove it."""
    error = ""
    if request.method == "POST":
        try:
            return _changed(request, remove_factor(request.user, factor), f"You removed {words}.")
        except ValidationError as refused:
            error = " ".join(refused.messages)
    context = {"words": words, "error": error}
    return render(request, "accounts/second_factor/confirm_remove.html", context, status=422 if error else 200)


@require_http_methods(["GET", "POST"])
@after_confirmation
def recovery_codes(request: MemberRequest) -> HttpResponse:
    """Ask for confirmation, and show new codes. Those before no longer work."""
    if not has_second_factor(request.user):
        return redirect("second-factor")
    if request.method == "POST":
        return _changed(request, renew_recovery_codes(request.user), "")
    return render(request, "accounts/second_factor/confirm_new_codes.html", {"left": recovery_codes_left(request.user)})


def _changed(request: MemberRequest, changed: Changed, words: str) -> HttpResponse:
    """Keep this session, alone of the member's, and show the new recovery codes, which is done once."""
    update_session_auth_hash(request, changed.member)
    if changed.codes:
        continue_url = request.session.pop(WANTED, reverse("second-factor"))
        context = {"codes": changed.codes, "words": words, "continue_url": continue_url}
        return render(request, "accounts/second_factor/codes.html", context)
    messages.success(request, f"{words} {_ELSEWHERE}")
    return redirect("second-factor")
