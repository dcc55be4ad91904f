"""Jobs that run periodically."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, connection

from common.clock import boottime
from common.database_trouble import log_failure


@dataclass(frozen=True)
class Job:
    """One housekeeping job: how often it runs, and what it does.

    `every`, and `first` (the wait before the first run), are in seconds. With `beside` it runs on its own thread, because it
    may take minutes and emails must not wait for it. With `nightly` a scheduler that knows the time of day runs it at night.
    `needed` is asked first, so that a thread and its connection to the database aren't made for nothing.
    """

    name: str
    action: Callable[[], object]
    every: float
    first: float = 0.0
    beside: bool = False
    nightly: bool = False
    needed: Callable[[], bool] = lambda: True

    def start(self) -> None:
        """Run the job.

        Database errors are raised, except on a thread of the job's own, where they are logged.
        """
        if not self.needed():
            return
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
    """Run `action` at most once every `seconds`, for the first time after `first`."""

    def __init__(self, seconds: float, action: Callable[[], object], first: float = 0.0) -> None:
        self.seconds, self.action, self.next = seconds, action, boottime() + first

    def run_if_due(self) -> None:
        if boottime() >= self.next:
            self.next = boottime() + self.seconds  # set before it may fail: a failing job must not keep the others from running
            self.action()
