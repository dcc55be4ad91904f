"""Remember how a member has shown who they are, until the session is opened."""

from __future__ import annotations

from django.http import HttpRequest

_KEY = "sign_in_factors"


def add_factor(request: HttpRequest, factor: str) -> None:
    """Note one step of a sign-in, such as “password”. A second one may follow on another page."""
    request.session[_KEY] = [*request.session.get(_KEY, []), factor]


def take_factors(request: HttpRequest) -> str:
    """The steps of this sign-in in words, such as “password, code”. Forgets them."""
    return ", ".join(dict.fromkeys(request.session.pop(_KEY, [])))
