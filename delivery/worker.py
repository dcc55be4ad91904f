"""The worker: it finds stages with due messages and runs delivery sessions for them.

Each session has a thread of its own, so that one stage's slow or dead server never delays another stage. `Worker.run()` is
`manage.py deliver`. `Worker.drain()` is `manage.py deliver --once`, and Celery's task (see tasks).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from common.clock import boottime, database_now
from common.database_trouble import log_failure
from common.jobs import Job, Periodic
from common.outage import Outage
from common.process import new_name, places_for_connections
from delivery import backoff, connection_slots
from delivery.claims.narrowing import capture_all_narrowed, capture_narrowed
from delivery.config import DeliveryConfig
from delivery.connection_slots import useful_connections
from delivery.coordinator import Coordinator
from delivery.due_messages import count_due, stages_with_due_mail
from delivery.leases import heal_clock_jumps, recover_abandoned
from delivery.listener import WakeupListener
from delivery.models import ConnectionSlot
from delivery.session import Session
from delivery.statements import DueStage
from delivery.values import Silence
from organization.installation.seal import is_copy
from outbox.copies.noticing import notice
from outbox.holding.held_mail import carry_out_answers
from outbox.holding.pauses import hold_all_paused
from outbox.states import hold_unconfigured, release_what_waits

log = structlog.get_logger(__name__)

REPORT_SECONDS = 5.0
MESSAGES_PER_CONNECTION = 10
# A session's connection to the server, and its connection to the database, which is three files on SQLite.
HANDLES_OF_A_SESSION = 4


class Worker:
    """Delivery in one process.

    `process`: the name under which a Celery worker process reports that it is alive and does the rest (see standby). Without it
    the worker does all that itself, and runs `jobs` too. Without `jobs` it repairs what a crash left.
    """

    def __init__(self, process: str = "", config: DeliveryConfig | None = None, jobs: Sequence[Job] = ()) -> None:
        self.config = config or DeliveryConfig.from_settings()
        self.name = process or new_name()
        self._stands_alone = not process
        self.stopping = threading.Event()
        self._listener = WakeupListener()
        self._awake_until = 0.0
        self._outage = Outage("database_unavailable", "database_available")
        self.coordinator = Coordinator(self.config)
        self._sessions: list[_Running] = []
        self._ended = threading.Event()
        self._every = [Periodic(REPORT_SECONDS, lambda: connection_slots.register(self.name)), Periodic(REPORT_SECONDS, notice)]
        if self._stands_alone:
            jobs = jobs or (replace(SWEEP, every=self.config.sweep_seconds),)
            self._every += [
                Periodic(REPORT_SECONDS, self._listener.check),
                *(Periodic(job.every, job.start, first=job.first) for job in jobs),
            ]

    def run(self) -> None:
        """Deliver until `stop()`. When the database goes away, wait for it."""
        self._begin()
        self._listener.start()
        log.info("worker_started", worker=self.name)
        while not self.stopping.is_set():
            try:
                self._run_once()
            except (DatabaseError, InterfaceError) as error:
                self._outage.note(error)
                connection.close()
                self.stopping.wait(1.0)
            else:
                self._outage.end()
            idle = self._listener.works and self._is_idle()
            self._listener.wait(self.config.idle_seconds if idle else self.config.poll_seconds)
        self._end()
        self._listener.stop()
        log.info("worker_stopped", worker=self.name)

    def _is_idle(self) -> bool:
        if self._sessions:
            self._awake_until = boottime() + self.config.awake_seconds
        return boottime() > self._awake_until

    def drain(self, seconds: float = math.inf) -> None:
        """Deliver what is due now. It ends when nothing is due any more, or when all that is due waits for a back-off.

        It also ends after `seconds`, and on `stop()`. Database errors pass through.
        """
        deadline = boottime() + seconds
        self._begin()
        try:
            self._run_once()
            while (self._running_stages() or self._startable()) and boottime() < deadline and not self.stopping.is_set():
                self._run_once()
                time.sleep(self.config.poll_seconds)
        finally:
            self.stop()
            self._end()

    def stop(self) -> None:
        self.stopping.set()
        self._listener.wake()

    def _begin(self) -> None:
        self.coordinator.start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def _watch(self) -> None:
        """Watch the sessions, on a thread that never asks the database.

        A connection must end in time even if the database hangs, or if the worker has ended before the connection.
        """
        while not self._ended.is_set() or any(running.thread.is_alive() for running in self._sessions):
            for running in tuple(self._sessions):
                running.session.watch()
            time.sleep(self.config.watch_seconds)

    def _run_once(self) -> None:
        for periodic in self._every:
            periodic.run_if_due()
        self._note_silences()
        startable = self._startable()
        for stage_id, missing in startable.items():
            room = places_for_connections(HANDLES_OF_A_SESSION) - len(self._sessions)
            share = math.ceil(room / len(startable))  # where file handles are few, no stage takes them all
            if share > 0:
                for slot in connection_slots.acquire(self.name, stage_id, min(missing, share)):
                    self._start_session(stage_id, slot)

    def _startable(self) -> dict[int, int]:
        """How many more connections each stage with due messages needs now."""
        running, hanging = self._running_stages(), self._hanging_stages()
        missing = {
            stage.pk: connections_missing(stage, running.count(stage.pk), hanging.count(stage.pk))
            for stage in stages_with_due_mail()
        }
        return {stage_id: count for stage_id, count in missing.items() if count > 0}

    def _hanging_stages(self) -> list[int]:
        """The stage of each session whose server doesn't answer."""
        return [running.session.stage_id for running in self._sessions if running.session.silence]

    def _note_silences(self) -> None:
        """Record which sessions have a silent server, for the stage's pages."""
        for running in self._sessions:
            silence = running.session.silence
            if silence != running.noted:
                connection_slots.note_silence(
                    running.slot, silence.message if silence else None, silence.since if silence else 0.0
                )
                running.noted = silence

    def _running_stages(self) -> list[int]:
        """The stage of each running session. Releases the slots of those that have ended.

        The session doesn't release its own slot, because that is tried again here while the database is away.
        """
        for ended in [running for running in self._sessions if not running.thread.is_alive()]:
            connection_slots.release(ended.slot)
            self._sessions.remove(ended)
        return [running.session.stage_id for running in self._sessions]

    def _start_session(self, stage_id: int, slot: ConnectionSlot) -> None:
        session = Session(stage_id, self.coordinator, self.stopping, self.config)
        thread = threading.Thread(target=_run_session, args=(session,), name=f"stage-{stage_id}", daemon=True)
        self._sessions.append(_Running(session, thread, slot))
        thread.start()

    def _end(self) -> None:
        """Let the messages on the wire finish, for as long as their lease lasts anyway."""
        deadline = boottime() + self.config.lease.total_seconds() / 2
        for running in self._sessions:
            running.thread.join(max(0.0, deadline - boottime()))
        self.coordinator.close()
        self._ended.set()
        if self._stands_alone:
            connection_slots.unregister(self.name)
        else:
            connection_slots.release_all(self.name)  # the process lives on, and must not seem dead for a moment


@dataclass
class _Running:
    """A session, its thread, its connection slot, and the silence that is recorded there."""

    session: Session
    thread: threading.Thread
    slot: ConnectionSlot
    noted: Silence | None = None


def connections_missing(stage: DueStage, running: int, hanging: int) -> int:
    """How many more connections the stage's due messages need: none while they wait, one while the server is being probed.

    Connections that hang send nothing, but are open. So they count toward the stage's limit alone.
    """
    allowed = useful_connections(stage.connections, stage.mails_per_minute)
    if allowed and running >= allowed:  # a busy worker ends here: each query that it asks holds up its connections
        return 0
    now = database_now()
    if allowed and backoff.is_backing_off(stage.pk, now):
        return 0
    if not running:
        capture_narrowed(stage.pk)  # before the server hears of it
    if not allowed:
        hold_unconfigured(stage.pk)
        return 0
    due = count_due(stage.pk, now, allowed * MESSAGES_PER_CONNECTION)
    sending = running - hanging
    if due and backoff.is_failing(stage.pk):
        return 1 - sending
    return min(allowed - running, math.ceil(due / MESSAGES_PER_CONNECTION) - sending)


def sweep() -> None:
    """Repair what a crash or a clock left, and carry out what people have decided about messages that wait.

    A copy that nobody has answered about stays as it came: what was on the wire tells what the original has sent.
    """
    if is_copy():
        return
    recovered = recover_abandoned()
    if recovered:
        log.warning("claims_recovered", mails=recovered)
    heal_clock_jumps()
    release_what_waits()
    carry_out_answers()
    hold_all_paused()
    capture_all_narrowed()
    connection_slots.unregister_dead()


SWEEP = Job("sweep", sweep, every=10.0)


def _run_session(session: Session) -> None:
    """Run a session on its thread. When it fails, its messages go again after their leases."""
    try:
        close_old_connections()
        session.run()
    except Exception as error:
        log_failure("session_failed", error, stage=session.stage_id)
        time.sleep(1.0)
    finally:
        connection.close()
