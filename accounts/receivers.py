"""What accounts does when Django has opened a session or is about to end one, whatever page that comes from."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.sessions.services import end_current, open_session
from organization import audit
from organization.models import Member
from organization.throttle.networks import client_of


@receiver(user_logged_in)
def _store_session(request: HttpRequest, user: Member, **_: Any) -> None:
    open_session(request, user)


@receiver(user_logged_out)
def _forget_session(request: HttpRequest, user: Any, **_: Any) -> None:
    end_current(request)
    if isinstance(user, Member):
        audit.record(user, audit.Operation.SIGN_OUT, user, after={"address": client_of(request)})
