"""Check a member's current password once more."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.forms import PasswordChangeForm
from django.core.exceptions import ValidationError

from organization.audit import Operation
from organization.models import Member
from organization.throttle.attempts import attempt
from organization.throttle.models import Secret


class CurrentPasswordForm(PasswordChangeForm):
    """Django's form, with the same count of failures as at sign-in."""

    def __init__(self, *args: Any, client: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = client

    def clean_old_password(self) -> str:
        """Check the current password. Raises TryLater too."""
        member = self.user
        assert isinstance(member, Member)
        password = self.cleaned_data["old_password"]
        if not attempt(
            Secret.PASSWORD,
            member.email,
            self._client,
            lambda: member.check_password(password),
            member=member,
            actor=member,
            operation=Operation.CHANGE_PASSWORD,
        ):
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return str(password)
