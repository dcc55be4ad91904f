"""What a Celery worker process does besides its tasks.

It reports that it is alive, and looks for due messages once a second. So retries start in time, a process joins in when there
is much to do, and messages are sent while the broker is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError, connection

from common.jobs import Periodic
from common.outage import Outage
from common.process import new_name
from delivery import connection_slots
from delivery.due_messages import stages_with_due_mail
from delivery.worker import REPORT_SECONDS, Worker, sweep
from outbox.copies.noticing import notice

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
# Celery's beat sweeps more often. This interval is for the time when beat or the broker is away.
SWEEP_SECONDS = 60.0
# A drain ends after this time even if there is more to do, so that the process can run its other tasks, and can stop.
DRAIN_SECONDS = 30.0
# A worker lets what is on the wire finish for almost this long.
STOP_SECONDS = 40.0


class Standby:
    """The standby of one process. At most one drain runs in it at a time."""

    def __init__(self) -> None:
        self._name = ""
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()
        self._worker: Worker | None = None
        self._thread: threading.Thread | None = None
        self._outage = Outage("database_unavailable", "database_available")

    def start(self) -> None:
        """Start the thread that reports and looks for due messages."""
        self._name = new_name()
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Claim no more messages, let what is on the wire finish, and unregister."""
        self._stopping.set()
        if worker := self._worker:
            worker.stop()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def drain(self) -> None:
        """Deliver what is due now, for at most DRAIN_SECONDS. A call during another drain waits for its end."""
        with self._one_at_a_time:
            if self._stopping.is_set() or not stages_with_due_mail():
                return
            self._worker = Worker(self._name)
            try:
                self._worker.drain(DRAIN_SECONDS)
            finally:
                self._worker = None

    def _run(self) -> None:
        every = [
            Periodic(REPORT_SECONDS, lambda: connection_slots.register(self._name)),
            Periodic(REPORT_SECONDS, notice),
            Periodic(SWEEP_SECONDS, sweep),
            Periodic(0.0, self.drain),
        ]
        log.info("worker_started", worker=self._name)
        while not self._stopping.wait(LOOK_SECONDS):
            for periodic in every:
                self._try(periodic.run_if_due)
        self._try(lambda: connection_slots.unregister(self._name))
        connection.close()
        log.info("worker_stopped", worker=self._name)

    def _try(self, action: Callable[[], None]) -> None:
        """Run `action`. No error of it ends the thread."""
        try:
            action()
        except (DatabaseError, InterfaceError) as error:
            self._outage.note(error)
            connection.close()
        except Exception:
            log.exception("standby_failed")
        else:
            self._outage.end()


_standby = Standby()
start, stop, drain = _standby.start, _standby.stop, _standby.drain
