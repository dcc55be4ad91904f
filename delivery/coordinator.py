"""The one thread that writes to the database for all of a worker's connections.

It records their results and claims their next messages. Each batch serves all connections that have reported, in one
transaction. So several messages share a commit, and still no connection has more than two whose content was sent and that are
not yet recorded. The coordinator also renews the leases of the messages that its connections hold.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from django.db import InterfaceError, OperationalError, connection

from common.clock import boottime
from common.database_trouble import log_failure
from common.outage import Outage
from delivery import leases
from delivery.batches import Batches, Recorded, StageClaim
from delivery.config import DeliveryConfig
from delivery.exceptions import CoordinatorClosed
from delivery.outcome_log import log_outcomes
from delivery.values import Batch, ClaimedMessage, LeaseKey, MessageResult

_RETRY_SECONDS = 0.5
_IDLE_SECONDS = 1.0
# Reports share a commit when they follow each other this closely, for this long at most. When no report is missing, there is
# no wait.
_FOLLOW_SECONDS = 0.0008
_GATHER_SECONDS = 0.003


@dataclass(frozen=True)
class Report:
    """One connection's report, and how many messages it would take next."""

    stage_id: int
    results: Sequence[MessageResult]
    capacity: int
    answer: queue.SimpleQueue[Batch | Exception] = field(default_factory=queue.SimpleQueue)

    def batch(self) -> Batch:
        """Wait for the batch's commit, and return the batch. Call it once.

        While the database is away it waits for as long as the messages are ours, and then it raises. It also raises
        CoordinatorClosed.
        """
        answer = self.answer.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def take_back(self) -> Sequence[ClaimedMessage]:
        """The messages of a batch that has arrived and was not read. Its reader gets none."""
        with suppress(queue.Empty):
            answer = self.answer.get_nowait()
            messages = answer.messages if isinstance(answer, Batch) else ()
            self.answer.put(answer._replace(messages=()) if isinstance(answer, Batch) else answer)
            return messages
        return ()


class Coordinator:
    """The coordinator of one worker. It runs on a thread of its own between `start()` and `close()`."""

    def __init__(self, config: DeliveryConfig) -> None:
        self._config = config
        self._batches = Batches(config)
        # Not a SimpleQueue: its get() with a very short timeout sometimes waits for ever (CPython 3.11).
        self._requests: queue.Queue[Report | None] = queue.Queue()
        self._lease_ends: dict[LeaseKey, float] = {}  # by boottime()
        self._to_report = 0  # about how many connections hold messages and will report on them
        self._unlogged: list[Recorded] = []
        self._renewed = boottime()
        self._outage = Outage("coordinator_waits_for_the_database", "coordinator_reached_the_database")
        self._closing, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="coordinator", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Answer the reports that came before, then end. Later reports get CoordinatorClosed."""
        self._closing.set()
        self._requests.put(None)
        self._thread.join()
        self._closed.set()
        with suppress(queue.Empty):
            while True:
                if request := self._requests.get_nowait():
                    request.answer.put(CoordinatorClosed())

    def report_async(self, stage_id: int, results: Sequence[MessageResult], capacity: int) -> Report:
        """Record `results`, and claim up to `capacity` messages of the stage. An empty batch means that no more are due."""
        request = Report(stage_id, results, capacity)
        self._requests.put(request)
        if self._closed.is_set():  # now, and not before: it may have been closed in between
            request.answer.put(CoordinatorClosed())
        return request

    def report_and_claim(self, stage_id: int, results: Sequence[MessageResult], capacity: int) -> Batch:
        """As report_async(), and wait for the batch."""
        return self.report_async(stage_id, results, capacity).batch()

    def is_ours(self, mail: ClaimedMessage) -> bool:
        """Whether a claimed message is still under its lease, so that no other worker sends it."""
        return self._lease_ends.get(mail.lease_key, 0.0) > boottime()

    def _run(self) -> None:
        try:
            while True:
                requests = self._waiting()
                if requests:
                    self._run_until_done(requests)
                    self._log_recorded()
                elif self._closing.is_set():
                    return
                self._renew_in_time()
        finally:
            connection.close()

    def _waiting(self) -> list[Report]:
        """The reports that wait for an answer; none, when it is time to renew the leases or to end."""
        try:
            requests = [self._requests.get(timeout=_IDLE_SECONDS)]
        except queue.Empty:
            return []
        latest = boottime() + _GATHER_SECONDS
        with suppress(queue.Empty):
            while (left := latest - boottime()) > 0:
                patience = min(left, _FOLLOW_SECONDS) if len(requests) < self._to_report else 0.0
                requests.append(self._requests.get(timeout=patience))
        self._to_report = max(0, self._to_report - len(requests))
        return [request for request in requests if request is not None]

    def _run_until_done(self, requests: list[Report]) -> None:
        """Answer the requests. While the database is away, retry until the leases run out.

        What a server accepted must be recorded.
        """
        deadline = boottime() + self._config.lease.total_seconds()
        while True:
            try:
                answers = self._run_batch(requests)
            except (OperationalError, InterfaceError) as error:
                self._outage.note(error)
                connection.close()
                if boottime() > deadline:
                    return self._tell_failure(requests, error)
                time.sleep(_RETRY_SECONDS)
            except Exception as error:  # a fault in our code
                log_failure("coordinator_failed", error)
                return self._tell_failure(requests, error)
            else:
                self._outage.end()
                self._to_report += sum(isinstance(answer, Batch) and bool(answer.messages) for answer in answers)
                for request, answer in zip(requests, answers, strict=True):
                    request.answer.put(answer)
                return None

    def _tell_failure(self, requests: Sequence[Report], error: Exception) -> None:
        """Let the leases of these messages run out, because it is not known any more what became of them."""
        for request in requests:
            for result in request.results:
                self._lease_ends.pop(result.message.lease_key, None)
            request.answer.put(error)

    def _log_recorded(self) -> None:
        """Log what was recorded. The connections have their answers by now, so they don't wait for these lines."""
        recorded, self._unlogged = self._unlogged, []
        for results, now in recorded:
            try:
                log_outcomes(results, now)
            except Exception as error:  # the outcomes are recorded all the same
                log_failure("outcomes_not_logged", error)

    def _run_batch(self, requests: Sequence[Report]) -> list[Batch | Exception]:
        """Write what the requests report, and share out what is claimed for them."""
        began = boottime()
        written = self._batches.write(_results_per_stage(requests), _capacity_per_stage(requests))
        self._unlogged.extend(written.recorded)
        for result in (result for request in requests for result in request.results):
            self._lease_ends.pop(result.message.lease_key, None)
        for claim in written.claims.values():
            if isinstance(claim, StageClaim):
                self._lease_ends.update((message.lease_key, self._lease_end(began)) for message in claim.messages)
        return _shares(requests, written.claims)

    def _renew_in_time(self) -> None:
        if boottime() < self._renewed + self._config.renew_every.total_seconds():
            return
        began = boottime()
        try:
            kept = leases.renew(list(self._lease_ends), self._config.lease) if self._lease_ends else set()
        except Exception as error:
            log_failure("leases_not_renewed", error)
            connection.close()
            time.sleep(_RETRY_SECONDS)
            return
        self._renewed = began
        self._lease_ends = dict.fromkeys(kept, self._lease_end(began))

    def _lease_end(self, began: float) -> float:
        """When the lease is over for us, a little before it is over for the other workers."""
        return began + self._config.lease.total_seconds() - self._config.lease_margin_seconds


def _results_per_stage(requests: Sequence[Report]) -> dict[int, list[MessageResult]]:
    results: dict[int, list[MessageResult]] = defaultdict(list)
    for request in requests:
        results[request.stage_id] += request.results
    return results


def _capacity_per_stage(requests: Sequence[Report]) -> dict[int, int]:
    """How many messages each stage's connections would take."""
    counts: dict[int, int] = defaultdict(int)
    for request in requests:
        counts[request.stage_id] += request.capacity
    return counts


def _shares(requests: Sequence[Report], claims: Mapping[int, StageClaim | Exception]) -> list[Batch | Exception]:
    """Each request's share of the messages that were claimed for its stage."""
    messages = {stage_id: iter(claim.messages) for stage_id, claim in claims.items() if isinstance(claim, StageClaim)}
    shares: list[Batch | Exception] = []
    for request in requests:
        claim = claims[request.stage_id]
        if isinstance(claim, StageClaim):
            own = list(islice(messages[request.stage_id], request.capacity))
            shares.append(Batch(own, claim.settings, claim.pause if request.capacity else 0.0, claim.backoff_is_over))
        else:
            shares.append(claim)
    return shares
