from __future__ import annotations

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpResponse

from accounts.sign_in.completion import after_first_factor
from accounts.sign_in.factors import add_factor
from organization.models import Member


class SignIn(LoginView):
    """Sign in by email address and password."""

    template_name = "accounts/sign_in.html"

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        member = form.get_user()
        assert isinstance(member, Member)
        add_factor(self.request, "password")
        return after_first_factor(self.request, member, self.get_success_url())
