"""The worker: finds stages with due mail and runs delivery sessions for them, each stage on threads of its own, so that
one stage's slow or dead server never delays another.

`Worker.run()` is `manage.py deliver`; `Worker.drain()` is `manage.py deliver --once`.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from emailconfig.models import SmtpSettings
from outbox import claims, models, stage_queue
from outbox.clock import database_now
from outbox.delivery import Session
from outbox.ledger import Ledger
from outbox.receivers import release_what_waits

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.05
SWEEP_SECONDS = 10.0
MAILS_WORTH_A_CONNECTION = 10


class Worker:
    """One process's worth of delivery."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.stopping = threading.Event()
        self.ledger = Ledger()
        self._sessions: list[tuple[Session, threading.Thread]] = []
        self._every = [
            _Periodic(claims.RENEW_EVERY.total_seconds(), self._report_and_renew),
            _Periodic(SWEEP_SECONDS, sweep),
        ]

    def run(self) -> None:
        """Deliver until `stop()`. A database that goes away is waited for."""
        self.ledger.start()
        while not self.stopping.is_set():
            try:
                self._turn()
            except (DatabaseError, InterfaceError) as error:
                log.error("database_unavailable", error=str(error))
                connection.close()
                self.stopping.wait(1.0)
            self.stopping.wait(POLL_SECONDS)
        self._end()

    def drain(self) -> None:
        """Deliver what is due now; ends when nothing is due any more, or what is due waits for a stage in trouble."""
        self.ledger.start()
        self._turn()
        while self._alive() or self._startable():
            self._turn()
            time.sleep(POLL_SECONDS)
        self._end()

    def stop(self) -> None:
        self.stopping.set()

    def _turn(self) -> None:
        for periodic in self._every:
            periodic.run_if_due()
        for session, _ in self._sessions:
            session.cut_if_overdue(time.monotonic())
        for stage_id, connections in self._startable().items():
            for _ in range(connections):
                self._start_session(stage_id)

    def _startable(self) -> dict[int, int]:
        """How many connections more each stage with due mail is worth now."""
        now = database_now()
        running = self._alive()
        wanted = {
            stage_id: connections_wanted(stage_id, now) - running.count(stage_id) for stage_id in claims.stages_with_due_mail(now)
        }
        return {stage_id: connections for stage_id, connections in wanted.items() if connections > 0}

    def _alive(self) -> list[int]:
        """The stage of each running session."""
        self._sessions = [found for found in self._sessions if found[1].is_alive()]
        return [session.stage_id for session, _ in self._sessions]

    def _start_session(self, stage_id: int) -> None:
        session = Session(stage_id, self.ledger, self.stopping)
        thread = threading.Thread(target=_run_session, args=(session,), name=f"stage-{stage_id}", daemon=True)
        self._sessions.append((session, thread))
        thread.start()

    def _report_and_renew(self) -> None:
        models.Worker.objects.update_or_create(name=self.name, defaults={"seen": timezone.now()})
        self.ledger.renew()

    def _end(self) -> None:
        """Let the mails on the wire finish, for as long as their lease would last anyway, and give back the rest."""
        deadline = time.monotonic() + claims.LEASE.total_seconds() / 2
        for _, thread in self._sessions:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.ledger.close()
        claims.release(self.ledger.owner)
        models.Worker.objects.filter(name=self.name).delete()


class _Periodic:
    """Runs `action` at most once in so many seconds, the first time at once."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self.seconds, self.action, self.next = seconds, action, 0.0

    def run_if_due(self) -> None:
        if time.monotonic() >= self.next:
            self.action()
            self.next = time.monotonic() + self.seconds


def connections_wanted(stage_id: int, now: datetime) -> int:
    """How many connections the stage's due mail is worth: none while it waits, one while its server is being probed."""
    if stage_queue.waits(stage_id, now):
        return 0
    if stage_queue.in_trouble(stage_id):
        return 1
    allowed = SmtpSettings.objects.filter(stage_id=stage_id).values_list("connections", flat=True).first() or 1
    return min(allowed, math.ceil(claims.count_due(stage_id, now, allowed * MAILS_WORTH_A_CONNECTION) / MAILS_WORTH_A_CONNECTION))


def sweep() -> None:
    """Repairs what a crash left: abandoned hand-overs, and held mail whose reason is gone."""
    recovered = claims.recover_abandoned()
    if recovered:
        log.warning("hand_overs_recovered", mails=recovered)
    release_what_waits()
    models.Worker.objects.filter(seen__lt=timezone.now() - models.Worker.STALE_AFTER).delete()


def _run_session(session: Session) -> None:
    """A session on its thread. Whatever goes wrong, the lease brings its mails back."""
    try:
        close_old_connections()
        session.run()
    except Exception:
        log.exception("session_failed", stage=session.stage_id)
        time.sleep(1.0)
    finally:
        connection.close()
