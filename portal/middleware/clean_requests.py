"""Keep characters that no database stores away from every page: NUL, and halves of characters."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from common.text import is_storable, storable


class CleanRequestMiddleware:
    """Answers 400 to such characters in a path or header, and replaces them in a query by a mark that matches nothing.

    In a form, each field reports its own error.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # The encoding that a client names is ignored. Some of Python's encodings can produce any character.
        request.encoding = "utf-8"
        headers = (value for name, value in request.META.items() if name.startswith("HTTP_"))
        if not all(map(is_storable, (request.path, *headers))):
            return render(request, "400.html", status=400)
        request.GET = _clean(request.GET)  # type: ignore[assignment]  # it is immutable too
        # The cookie may come from another site on this domain. It is dropped, as if the browser didn't have it.
        request.COOKIES = {name: value for name, value in request.COOKIES.items() if is_storable(name + value)}
        return self.get_response(request)


def _clean(query: QueryDict) -> QueryDict:
    if all(is_storable(text) for name, values in query.lists() for text in (name, *values)):
        return query
    clean = QueryDict(mutable=True)
    for name, values in query.lists():
        clean.setlist(storable(name), storable(values))
    clean._mutable = False
    return clean
