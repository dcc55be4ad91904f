"""What accounts does when Django has opened or is about to end a session."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.sessions.services import end_current, open_session
from organization.models import Member


@receiver(user_logged_in)
def store_session(request: HttpRequest, user: Member, **_: Any) -> None:
    open_session(request, user)


@receiver(user_logged_out)
def forget_session(request: HttpRequest, **_: Any) -> None:
    end_current(request)
