"""Check few passwords at once, so that guessers can't take all processor time.

A password's hash is slow by design. A page that waits for its turn keeps one of the web process's threads, so the queue is
short. Those whose network has no failures go first.
"""

from __future__ import annotations

import itertools
import threading
from bisect import insort
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from organization.exceptions import TooManySignIns

AT_ONCE = 2
# How many may wait: in all, of one network, and of all networks with failures together. With those at once they are one less
# than the threads in gunicorn.conf.py, so that one thread is left for other pages and probes.
WAITING = 5
WAITING_PER_NETWORK = 4
WAITING_WITH_FAILURES = 1
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, order=True)
class _Place:
    """A place in the queue. They sort in the order of their turns."""

    has_failures: bool
    number: int
    network: str


class HashQueue:
    """The queue of one process."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._changed = threading.Condition()
        self._running = 0
        self._waiting: list[_Place] = []
        self._numbers = itertools.count()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def turn(self, network: str, *, has_failures: bool) -> Iterator[None]:
        """Wait for a turn. Raises TooManySignIns if the queue is full, or too slow."""
        with self._changed:
            self._wait(_Place(has_failures, next(self._numbers), network))
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _wait(self, place: _Place) -> None:
        if self._running < AT_ONCE and not self._waiting:
            return
        self._require_room(place)
        insort(self._waiting, place)
        its_turn = self._changed.wait_for(lambda: self._running < AT_ONCE and self._waiting[0] == place, self._patience)
        self._waiting.remove(place)
        self._changed.notify_all()  # the next one is first now
        if not its_turn:
            raise TooManySignIns()

    def _require_room(self, place: _Place) -> None:
        of_network = sum(other.network == place.network for other in self._waiting)
        with_failures = sum(other.has_failures for other in self._waiting)
        if (
            len(self._waiting) >= WAITING
            or of_network >= WAITING_PER_NETWORK
            or (place.has_failures and with_failures >= WAITING_WITH_FAILURES)
        ):
            raise TooManySignIns()


queue = HashQueue()
