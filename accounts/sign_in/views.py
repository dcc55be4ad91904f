from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpResponse

from accounts.sign_in.completion import after_first_factor
from accounts.single_sign_on.config import provider
from organization.models import Member


class SignIn(LoginView):
    """Sign in by email address and password."""

    template_name = "accounts/sign_in.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(sends_own_email=bool(settings.PORTAL_STAGE), provider=provider(), **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        member = form.get_user()
        assert isinstance(member, Member)
        return after_first_factor(self.request, member, self.get_success_url(), how="password")
