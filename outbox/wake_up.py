"""Waking Celery's workers: after mail was committed a hint goes to the broker, where there is one.

A hint says nothing but “look”: the rows are the truth. It is published on a thread of its own, at most once in 100 ms, so
that a broker that is slow, hangs or is dead never holds up whoever hands mail in; workers also look by themselves.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction

log = structlog.get_logger(__name__)

COALESCE_SECONDS = 0.1
BROKEN_SECONDS = 1.0


def after_commit() -> None:
    """Wake the workers when the current transaction commits. Does nothing without CELERY_BROKER_URL, and never raises."""
    if settings.CELERY_BROKER_URL:
        transaction.on_commit(_hints.want, robust=True)


class Hints:
    """Publishes for one process. However often one is wanted meanwhile, the next hint is one."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: Any = None  # kombu's
        self._broken = False

    def want(self) -> None:
        """Publish soon. Returns at once."""
        self._wanted.set()
        if self._thread is None or not self._thread.is_alive():  # not yet, or left behind by a fork
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="wake-up", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                self._publish()
            except Exception as error:  # whatever a broker's client raises: the mail is stored
                self._note_broken(error)
                time.sleep(BROKEN_SECONDS)
            else:
                self._broken = False
            time.sleep(COALESCE_SECONDS)

    def _publish(self) -> None:
        """A hint that still waits in the broker will be taken after our commit, so that another would say nothing new; and
        while no worker runs they don't pile up."""
        from outbox.tasks import drain  # only where there is a broker is Celery imported

        if self._connection is None:
            self._connection = drain.app.connection_for_write()
        self._connection.connect()
        queue = drain.app.conf.task_default_queue
        waiting = self._connection.default_channel.queue_declare(queue, durable=True, auto_delete=False).message_count
        if not waiting:
            drain.apply_async(connection=self._connection, retry=False)

    def _note_broken(self, error: Exception) -> None:
        """One line per outage; the next hint is tried over a new connection."""
        if not self._broken:
            log.warning("broker_unavailable", error=str(error))
        self._broken = True
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception as failed:
                log.debug("broker_connection_not_closed", error=str(failed))


_hints = Hints()
