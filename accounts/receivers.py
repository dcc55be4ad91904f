"""Tell the audit trail about sign-outs, whatever page they come from."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest

from organization import audit
from organization.models import Member
from organization.throttle.networks import client_of


@receiver(user_logged_out)
def _record_sign_out(request: HttpRequest, user: Any, **_: Any) -> None:
    if isinstance(user, Member):
        audit.record(user, audit.Operation.SIGN_OUT, user, after={"address": client_of(request)})
