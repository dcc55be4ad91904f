"""Keep one thread of a web process free while the database hangs. Static files and probes need it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from common import sql
from portal import statements
from portal.watch import Watch

# So many pages may wait before the next one checks whether the database answers. It is less than gunicorn's threads.
_PAGES_UNASKED = 3


class DatabaseGateMiddleware:
    """Answers 503 at once while too many pages wait. Those wait for DATABASE_STATEMENT_TIMEOUT at most."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._watch = Watch(_answers, hangs=False)
        self._pages = 0
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if self._watch.hangs or (self._pages >= _PAGES_UNASKED and not self._watch.latest()):
            self._watch.latest()  # so that it is noticed when the database answers again
            page = render(None, "503.html", status=503)  # without the request, because its context asks the database
            page["Retry-After"] = "10"
            return page
        with self._counted():
            return self.get_response(request)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._pages += 1
        try:
            yield
        finally:
            with self._lock:
                self._pages -= 1


def _answers() -> bool:
    try:
        sql.fetch(statements.ANSWERS)
    except (DatabaseError, InterfaceError):
        connection.close()  # unavailable, which each page notices on its own without a wait
    return True
