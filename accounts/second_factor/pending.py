"""A sign-in that has shown the first factor and not the second one. It has no rights, and ends after five minutes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth import logout
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts.second_factor.tries import forget_tries
from organization.models import Member

LASTS = timedelta(minutes=5)
_KEY = "pending_sign_in"


@dataclass(frozen=True)
class PendingSignIn:
    member: Member
    next_url: str
    how: str  # the first factor, in words


def begin_pending(request: HttpRequest, member: Member, next_url: str, how: str) -> None:
    """Keep it in the session, under a new key. Another member's session in this browser ends."""
    if request.user.is_authenticated:
        logout(request)
    request.session.cycle_key()
    forget_tries(request)
    request.session[_KEY] = {
        "member": member.pk,
        "hash": member.get_session_auth_hash(),  # so that a new password or a deactivation ends it
        "next": next_url,
        "how": how,
        "until": (timezone.now() + LASTS).timestamp(),
    }


def pending_sign_in(request: HttpRequest) -> PendingSignIn | None:
    """The session's pending sign-in. Ends it and returns None if it has expired, or the member may no longer sign in."""
    stored = request.session.get(_KEY)
    if stored is None:
        return None
    member = Member.objects.filter(pk=stored["member"], is_active=True).first()
    is_expired = timezone.now().timestamp() >= stored["until"]
    if member is None or is_expired or not constant_time_compare(stored["hash"], member.get_session_auth_hash()):
        end_pending(request)
        return None
    return PendingSignIn(member, stored["next"], stored["how"])


def end_pending(request: HttpRequest) -> None:
    request.session.pop(_KEY, None)
