"""Waking the workers: after mail was committed a hint goes to Celery's broker or, without one, through PostgreSQL.

A hint says nothing but “look”: the rows are the truth. It is published on a thread of its own, at most once in 100 ms, so
that a broker that is slow, hangs or is dead never holds up whoever hands mail in; workers also look by themselves.
On SQLite there is nobody to tell: the worker looks 20 times a second (see alarm).
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
# What a hint asks Celery's workers to do, by its name: the task belongs to a layer above.
DRAIN_TASK = "portal.tasks.drain"
# A process that has had nothing to say for so long keeps no connection for it.
QUIET_SECONDS = 1.0
# A process that ends, such as a command, lets its last hint out for at most so long.
LAST_HINT_SECONDS = 1.0


def after_commit() -> None:
    """Wake the workers when the current transaction commits. Never raises."""
    if settings.CELERY_BROKER_URL or connection.vendor == "postgresql":
        transaction.on_commit(_hints.want, robust=True)


def notify() -> None:
    """Tell everybody who listens to this database. On SQLite nobody does."""
    if connection.vendor == "postgresql":
        sql.run(statements.NOTIFY)


class Hints:
    """Publishes for one process. However often one is wanted meanwhile, the next hint is one."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._nothing_to_say = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._broker: Any = None  # kombu's connection
        self._outage = Outage("broker_unavailable", "broker_available")

    def want(self) -> None:
        """Publish soon. Returns at once."""
        self._nothing_to_say.clear()
        self._wanted.set()
        if self._thread is None or not self._thread.is_alive():  # not yet, or left behind by a fork
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="wake-up", daemon=True)
                self._thread.start()
                atexit.register(self._let_out)

    def _run(self) -> None:
        while True:
            if not self._wanted.wait(QUIET_SECONDS):
                connection.close()
                self._wanted.wait()
            try:
                self._publish()
            except Exception as error:  # whatever a broker's client raises: the mail is stored
                self._note_broken(error)
                time.sleep(BROKEN_SECONDS)
            else:
                self._outage.end()
                if not self._wanted.is_set():
                    self._nothing_to_say.set()
            time.sleep(COALESCE_SECONDS)

    def _publish(self) -> None:
        self._wanted.clear()
        if settings.CELERY_BROKER_URL:
            self._tell_broker()
        else:
            notify()

    def _tell_broker(self) -> None:
        """A hint that still waits in the broker will be taken after our commit, so that another would say nothing new; and
        while no worker runs they don't pile up."""
        from celery import current_app  # only where there is a broker is Celery imported

        if self._broker is None:
            self._broker = current_app.connection_for_write()
        self._broker.connect()
        queue = current_app.conf.task_default_queue
        waiting = self._broker.default_channel.queue_declare(queue, durable=True, auto_delete=False).message_count
        if not waiting:
            current_app.send_task(DRAIN_TASK, connection=self._broker, retry=False)

    def _note_broken(self, error: Exception) -> None:
        """The next hint is tried over a new connection."""
        self._outage.note(error)
        connection.close()
        broker, self._broker = self._broker, None
        if broker is not None:
            try:
                broker.close()
            except Exception as failed:
                log.debug("broker_connection_not_closed", error=str(failed))

    def _let_out(self) -> None:
        self._nothing_to_say.wait(LAST_HINT_SECONDS)


_hints = Hints()
