"""Wake the workers: after a message was committed, send a hint to Celery's broker or, without one, through PostgreSQL.

A hint only says that there may be due messages, and the rows are the truth. It is published on a thread of its own, at most
once in 100 ms, so that a broker that is slow, hangs or is dead never delays an app that submits messages. Workers also look on
their own. On SQLite there are no hints: the worker looks 20 times a second (see delivery.listener).
"""

from __future__ import annotations

import atexit
import threading
import time
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction

from common import sql
from common.outage import Outage
from outbox import statements

log = structlog.get_logger(__name__)

COALESCE_SECONDS = 0.1
BROKEN_SECONDS = 1.0
# The task that a hint asks Celery's workers to run. It is named, not imported, because it belongs to a layer above.
DRAIN_TASK = "portal.tasks.drain"
# After this long without a hint, a process closes its connection for hints.
QUIET_SECONDS = 1.0
# A process that ends, such as a command, waits at most this long for its last hint.
LAST_NOTICE_SECONDS = 1.0


def notify_on_commit() -> None:
    """Wake the workers when the current transaction commits. Never raises."""
    if settings.CELERY_BROKER_URL or connection.vendor == "postgresql":
        transaction.on_commit(_notifier.request, robust=True)


def notify() -> None:
    """Notify all listeners of this database. On SQLite there are none."""
    if connection.vendor == "postgresql":
        sql.run(statements.NOTIFY)


class Notifier:
    """Publishes the hints of one process. All requests until the next publication share one hint."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._idle = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broker: Any = None  # kombu's connection
        self._outage = Outage("broker_unavailable", "broker_available")

    def request(self) -> None:
        """Publish soon. Returns at once."""
        self._idle.clear()
        self._requested.set()
        if self._thread is None or not self._thread.is_alive():  # not started yet, or lost in a fork
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="wake-up", daemon=True)
                self._thread.start()
                atexit.register(self._flush)

    def _run(self) -> None:
        while True:
            if not self._requested.wait(QUIET_SECONDS):
                connection.close()
                self._requested.wait()
            try:
                self._publish()
            except Exception as error:  # whatever a broker's client raises: the message is stored
                self._record_failure(error)
                time.sleep(BROKEN_SECONDS)
            else:
                self._outage.end()
                if not self._requested.is_set():
                    self._idle.set()
            time.sleep(COALESCE_SECONDS)

    def _publish(self) -> None:
        self._requested.clear()
        if settings.CELERY_BROKER_URL:
            self._tell_broker()
        else:
            notify()

    def _tell_broker(self) -> None:
        """Send a task to the broker, unless one still waits there.

        A waiting hint will be read after our commit, so another one would say nothing new. This way hints don't pile up while no
        worker runs.
        """
        from celery import current_app  # only where there is a broker is Celery imported

        if self._broker is None:
            self._broker = current_app.connection_for_write()
        self._broker.connect()
        queue = current_app.conf.task_default_queue
        waiting = self._broker.default_channel.queue_declare(queue, durable=True, auto_delete=False).message_count
        if not waiting:
            current_app.send_task(DRAIN_TASK, connection=self._broker, retry=False)

    def _record_failure(self, error: Exception) -> None:
        """Note the outage, and close the connections, so that the next hint uses a new one."""
        self._outage.note(error)
        connection.close()
        broker, self._broker = self._broker, None
        if broker is not None:
            try:
                broker.close()
            except Exception as failed:
                log.debug("broker_connection_not_closed", error=str(failed))

    def _flush(self) -> None:
        self._idle.wait(LAST_NOTICE_SECONDS)


_notifier = Notifier()
