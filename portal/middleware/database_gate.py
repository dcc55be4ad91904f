"""Keeps pages from taking every thread of a web process while the database hangs: static files and probes need one."""

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

# So many pages may wait before the next one first asks whether the database answers. One less than gunicorn's threads.
_PAGES_UNASKED = 3


class DatabaseGateMiddleware:
    """The pages before it wait for as long as DATABASE_STATEMENT_TIMEOUT lets them; later ones get a 503 at once."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._watch = Watch(_answers, hangs=False)
        self._pages = 0
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if self._watch.hangs or (self._pages >= _PAGES_UNASKED and not self._watch.ask()):
            self._watch.ask()  # so that the end of it is noticed
            page = render(None, "503.html", status=503)  # no request: what belongs to one asks the database
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
        connection.close()  # away, which is answered without a wait: each page finds out on its own
    return True
