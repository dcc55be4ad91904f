"""Signing in and out is Django's own; here is what it leaves to us."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.views import PasswordChangeView
from django.forms import BaseForm
from django.http import HttpResponse
from django.urls import reverse_lazy

from organization import audit
from organization.models import Member


class ChangePassword(PasswordChangeView):
    """The member's own password; other sessions of theirs end."""

    success_url = reverse_lazy("profile")

    def form_valid(self, form: BaseForm) -> HttpResponse:
        response = super().form_valid(form)  # type: ignore[arg-type]
        member = self.request.user
        assert isinstance(member, Member)
        audit.record(member, "Change password", member)
        messages.success(self.request, "Your password was changed.")
        return response
