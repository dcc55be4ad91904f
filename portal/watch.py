"""Asks the database something on a thread of its own, so that nobody else waits for a database that hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

from django.db import connection

T = TypeVar("T")

# A probe that gets no answer within two seconds counts as failed in most balancers.
PATIENCE_SECONDS = 1.0
# Nobody needs to know it more exactly.
FRESH_SECONDS = 1.0
# A portal that nobody has asked for so long keeps no connection for it.
QUIET_SECONDS = 15.0


class _Check(NamedTuple):
    began: float
    answer: Future[object]


class Watch(Generic[T]):
    """One process's. `check` is asked once at a time, however many want to know."""

    def __init__(self, check: Callable[[], T], hangs: T) -> None:
        self._check, self._hangs = check, hangs
        self._last: _Check | None = None
        self._lock = threading.Lock()
        self._wanted: queue.Queue[_Check] = queue.Queue()
        self._thread: threading.Thread | None = None

    def latest(self) -> T:
        """The answer of a moment ago, or of now; `hangs` when there is none in time."""
        check = self._current()
        try:
            answer: T = check.answer.result(max(0.0, check.began + PATIENCE_SECONDS - time.monotonic()))  # type: ignore[assignment]
        except TimeoutError:
            return self._hangs
        return answer

    @property
    def hangs(self) -> bool:
        """Whether an answer has been missing for too long already. Asks nothing."""
        last = self._last
        return last is not None and not last.answer.done() and time.monotonic() > last.began + PATIENCE_SECONDS

    def _current(self) -> _Check:
        with self._lock:
            last = self._last
            if last is None or (last.answer.done() and time.monotonic() > last.began + FRESH_SECONDS):
                last = self._last = _Check(time.monotonic(), Future())
                self._wanted.put(last)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watch-database", daemon=True)
                self._thread.start()
            return last

    def _run(self) -> None:
        while True:
            try:
                check = self._wanted.get(timeout=QUIET_SECONDS)
            except queue.Empty:
                connection.close()
                check = self._wanted.get()
            try:
                check.answer.set_result(self._check())
            except Exception as error:
                connection.close()
                check.answer.set_exception(error)
