"""Work that is done again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, connection

from common.clock import uptime
from common.database_trouble import log_failure


@dataclass(frozen=True)
class Job:
    """One kind of housekeeping: how often it runs, and what it does.

    `every` and `first` (the wait before the first time) are in seconds. `beside`: on a thread of its own, because it may take
    minutes and emails must not wait for it. `nightly`: where there is a calendar, at night.
    """

    name: str
    action: Callable[[], object]
    every: float
    first: float = 0.0
    beside: bool = False
    nightly: bool = False

    def start(self) -> None:
        """Run it. Database errors pass through, except from a thread of its own."""
        if self.beside:
            threading.Thread(target=self._run_beside, name=self.name, daemon=True).start()
        else:
            self.action()

    def _run_beside(self) -> None:
        try:
            self.action()
        except (DatabaseError, InterfaceError) as error:
            log_failure("job_failed", error, job=self.name)
        finally:
            connection.close()


class Periodic:
    """Runs `action` at most once in so many seconds, the first time after `first` seconds."""

    def __init__(self, seconds: float, action: Callable[[], object], first: float = 0.0) -> None:
        self.seconds, self.action, self.next = seconds, action, uptime() + first

    def run_if_due(self) -> None:
        if uptime() >= self.next:
            self.next = uptime() + self.seconds  # also when it fails: it must not keep everything else from its turn
            self.action()
