"""The page that an invitation or a link for a new password leads to: choose a password."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.forms import SetPasswordForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_variables

from accounts.exceptions import InvalidLink
from accounts.links import Purpose, member_of_link, use_link
from organization.models import Member


@sensitive_variables("token")
def answer_link(request: HttpRequest, purpose: Purpose, token: str) -> HttpResponse:
    """Ask for a password, store it, and lead to the sign-in page: a second factor is asked for there, as always."""
    member = member_of_link(purpose, token)
    if member is None:
        return _link_invalid(request, purpose)
    form = SetPasswordForm(member, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            use_link(purpose, token, form.cleaned_data["new_password1"])
        except InvalidLink:
            return _link_invalid(request, purpose)
        messages.success(request, "Your password was stored. Sign in with it.")
        return redirect("login")
    return _page(request, "accounts/choose_password.html", purpose, 422 if form.errors else 200, form=form, member=member)


def _link_invalid(request: HttpRequest, purpose: Purpose) -> HttpResponse:
    return _page(request, "accounts/link_invalid.html", purpose, 410)


def _page(
    request: HttpRequest,
    template: str,
    purpose: Purpose,
    status: int,
    form: SetPasswordForm[Member] | None = None,
    member: Member | None = None,
) -> HttpResponse:
    context = {"form": form, "member": member, "is_invitation": purpose == Purpose.INVITATION}
    page = render(request, template, context, status=status)
    # The page's address is a secret. Where a link leads from here, only the host is told, which the check of forged forms needs.
    page["Referrer-Policy"] = "strict-origin"
    return page
