"""How an idle worker hears at once that mail is due: PostgreSQL tells it (see wake_up).

A pooler that gives a connection to others after each transaction swallows what PostgreSQL tells, without an error. So the
worker first tries out whether a hint comes through; until then, and on SQLite, it looks 20 times a second.
"""

from __future__ import annotations

import threading

from django.db import DatabaseError, InterfaceError, connection

from common import sql
from common.outage import Outage
from outbox import statements, wakeup

_LISTEN_SECONDS = 1.0


class Alarm:
    """One worker's. `works`: a hint has come through, and the connection for it still stands."""

    def __init__(self) -> None:
        self.works = False
        self._rung = threading.Event()
        self._stopping = threading.Event()
        self._outage = Outage("hints_unavailable", "hints_available")

    def start(self) -> None:
        if connection.vendor == "postgresql":
            threading.Thread(target=self._run, name="alarm", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def ring(self) -> None:
        self._rung.set()

    def wait(self, seconds: float) -> None:
        """Wait for the next hint, for at most so long."""
        self._rung.wait(seconds)
        self._rung.clear()

    def try_out(self) -> None:
        """Send a hint that must come through for `works`."""
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
                self.ring()
                connection.close()

    def _listen(self) -> None:
        sql.run(statements.LISTEN)
        while not self._stopping.is_set():
            with connection.wrap_database_errors:
                for _ in connection.connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
                    self._outage.end()
                    self.works = True
                    self._rung.set()
