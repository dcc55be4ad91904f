"""Count what was tried in one session: five wrong answers end it.

Every check of a second factor calls `count_try` first. What is guessed in many sessions is limited by organization/throttle.
"""

from __future__ import annotations

from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpRequest

from organization.models import Member

TRIES = 5
_KEY = "second_factor_tries"


def count_try(request: HttpRequest, member: Member) -> None:
    """Count a try of `member` before it is checked, so that requests at the same moment count too."""
    request.session[_KEY] = request.session.get(_KEY, 0) + 1
    try:
        request.session.save()
    except UpdateError as error:  # the form was sent twice, and the other request has ended this session
        raise SessionInterrupted("This session has ended. Sign in again.") from error


def forget_tries(request: HttpRequest) -> None:
    request.session.pop(_KEY, None)


def no_tries_left(request: HttpRequest) -> bool:
    return request.session.get(_KEY, 0) >= TRIES  # type: ignore[no-any-return]
