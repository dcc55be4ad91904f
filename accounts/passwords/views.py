"""Change a password while one is signed in."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy

from accounts.passwords.current_password import CurrentPasswordForm
from organization.members import change_password
from organization.models import Member
from organization.throttle.networks import client_of


class ChangePassword(PasswordChangeView):
    """Change the member's own password. Their other sessions end."""

    template_name = "accounts/change_password.html"
    form_class = CurrentPasswordForm
    success_url = reverse_lazy("profile")

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "client": client_of(self.request)}

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        member = self.request.user
        assert isinstance(member, Member)
        try:
            changed = change_password(member, form.cleaned_data["new_password1"])
        except ValidationError as error:
            form.add_error(None, error)
            return self.form_invalid(form)
        update_session_auth_hash(self.request, changed)
        messages.success(self.request, "Your password was changed.")
        return redirect(self.success_url)
