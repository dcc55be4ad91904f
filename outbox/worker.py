"""The worker: finds stages with due mail and runs delivery sessions for them, each stage on threads of its own, so that
one stage's slow or dead server never delays another.

`Worker.run()` is `manage.py deliver`; `Worker.drain()` is `manage.py deliver --once`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone

from emailconfig.models import SmtpSettings
from outbox import claims, models, stage_queue
from outbox.clock import database_now
from outbox.delivery import Session
from outbox.receivers import release_what_waits

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.05
SWEEP_SECONDS = 10.0


class Worker:
    """One process's worth of delivery."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.stopping = threading.Event()
        self._sessions: dict[str, tuple[int, threading.Thread]] = {}
        self._every = [
            _Periodic(claims.RENEW_EVERY.total_seconds(), self._report_and_renew),
            _Periodic(SWEEP_SECONDS, sweep),
        ]

    def run(self) -> None:
        """Deliver until `stop()`. A database that goes away is waited for."""
        while not self.stopping.is_set():
            try:
                self._turn()
            except (DatabaseError, InterfaceError) as error:
                log.error("database_unavailable", error=str(error))
                connection.close()
                self.stopping.wait(1.0)
            self.stopping.wait(POLL_SECONDS)
        self._wait_for_sessions()
        models.Worker.objects.filter(name=self.name).delete()

    def drain(self) -> None:
        """Deliver what is due now; ends when nothing is due any more, or what is due waits for a stage in trouble."""
        self._turn()
        while self._alive() or self._startable():
            self._turn()
            time.sleep(POLL_SECONDS / 5)
        models.Worker.objects.filter(name=self.name).delete()

    def stop(self) -> None:
        self.stopping.set()

    def _turn(self) -> None:
        for periodic in self._every:
            periodic.run_if_due()
        for stage_id in self._startable():
            self._start_session(stage_id)

    def _startable(self) -> list[int]:
        """Stages with due mail that may open one more connection now."""
        now = database_now()
        running = self._alive()
        return [
            stage_id
            for stage_id in claims.stages_with_due_mail(now)
            if running.count(stage_id) < connections_allowed(stage_id) and not stage_queue.waits(stage_id, now)
        ]

    def _alive(self) -> list[int]:
        """The stage of each running session."""
        self._sessions = {owner: found for owner, found in self._sessions.items() if found[1].is_alive()}
        return [stage_id for stage_id, _ in self._sessions.values()]

    def _start_session(self, stage_id: int) -> None:
        owner = claims.new_owner()
        thread = threading.Thread(target=_run_session, args=(stage_id, owner), name=f"stage-{stage_id}", daemon=True)
        self._sessions[owner] = (stage_id, thread)
        thread.start()

    def _report_and_renew(self) -> None:
        self._alive()
        models.Worker.objects.update_or_create(name=self.name, defaults={"seen": timezone.now()})
        claims.renew(list(self._sessions))

    def _wait_for_sessions(self) -> None:
        """Let the mails on the wire finish, for as long as their lease would last anyway."""
        deadline = time.monotonic() + claims.LEASE.total_seconds() / 2
        for _, thread in self._sessions.values():
            thread.join(max(0.0, deadline - time.monotonic()))


class _Periodic:
    """Runs `action` at most once in so many seconds, the first time at once."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self.seconds, self.action, self.next = seconds, action, 0.0

    def run_if_due(self) -> None:
        if time.monotonic() >= self.next:
            self.action()
            self.next = time.monotonic() + self.seconds


def connections_allowed(stage_id: int) -> int:
    """How many connections the stage may use: one while its server is being probed."""
    if stage_queue.in_trouble(stage_id):
        return 1
    return SmtpSettings.objects.filter(stage_id=stage_id).values_list("connections", flat=True).first() or 1


def sweep() -> None:
    """Repairs what a crash left: abandoned hand-overs, and held mail whose reason is gone."""
    recovered = claims.recover_abandoned()
    if recovered:
        log.warning("hand_overs_recovered", mails=recovered)
    release_what_waits()
    models.Worker.objects.filter(seen__lt=timezone.now() - models.Worker.STALE_AFTER).delete()


def _run_session(stage_id: int, owner: str) -> None:
    """A session on its thread. Whatever goes wrong, the lease brings its mails back."""
    try:
        close_old_connections()
        Session(stage_id, owner).run()
    except Exception:
        log.exception("session_failed", stage=stage_id)
        time.sleep(1.0)
    finally:
        connection.close()
