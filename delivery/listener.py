"""Tell an idle worker at once that messages are due, through PostgreSQL's notifications (see wakeup).

A pooler that gives a connection to others after each transaction loses these notifications without an error. So the worker
first checks whether a hint arrives. Until then, and on SQLite, it looks for messages 20 times a second.
"""

from __future__ import annotations

import threading

from django.db import DatabaseError, InterfaceError, connection

from common import sql
from common.outage import Outage
from outbox import statements, wakeup

_LISTEN_SECONDS = 1.0


class WakeupListener:
    """The listener of one worker. `works`: a hint has arrived, and the connection for hints is still open."""

    def __init__(self) -> None:
        self.works = False
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._outage = Outage("hints_unavailable", "hints_available")

    def start(self) -> None:
        if connection.vendor == "postgresql":
            threading.Thread(target=self._run, name="wakeup-listener", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def wake(self) -> None:
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Wait for the next hint, for at most `seconds`."""
        self._woken.wait(seconds)
        self._woken.clear()

    def check(self) -> None:
        """Send a hint, unless one has arrived already. `works` becomes true when it arrives."""
        if not self.works:
            wakeup.notify()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except (DatabaseError, InterfaceError) as error:
                self._outage.note(error)
                self._stopping.wait(1.0)
            finally:
                self.works = False
                self.wake()
                connection.close()

    def _listen(self) -> None:
        sql.run(statements.LISTEN)
        while not self._stopping.is_set():
            with connection.wrap_database_errors:
                for _ in connection.connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                    self._outage.end()
                    self.works = True
                    self._woken.set()
