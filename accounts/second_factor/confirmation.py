"""Ask who is there before factors are changed, if they haven't shown it in the last five minutes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from organization.web.http import MemberRequest

LASTS = timedelta(minutes=5)
_KEY = "confirmed_at"

View = Callable[..., HttpResponse]


def mark_confirmed(request: HttpRequest) -> None:
    """Remember that the member has just shown a password or a factor. Signing in counts."""
    request.session[_KEY] = timezone.now().timestamp()


def is_confirmed(request: HttpRequest) -> bool:
    return timezone.now().timestamp() - request.session.get(_KEY, 0) < LASTS.total_seconds()  # type: ignore[no-any-return]


def after_confirmation(view: View) -> View:
    """Let the view answer only those who have confirmed that it is them."""

    @wraps(view)
    def confirmed_view(request: MemberRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if is_confirmed(request):
            return view(request, *args, **kwargs)
        return redirect(f"{reverse('second-factor-confirm')}?{urlencode({'next': request.path})}")

    return confirmed_view
