"""The one thread that writes to the database for all of a worker's connections.

It records their results and claims their next messages. Each batch serves all connections that have reported, in one
transaction. So several messages share a commit, and still no connection has more than two whose content was sent and that are
not yet recorded. The coordinator also renews the leases of the messages that its connections hold.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from common import sql
from common.clock import boottime, database_now, parse_db_time
from common.database_trouble import log_failure
from common.outage import Outage
from delivery import leases, statements
from delivery.claims.claim import ANY_NUMBER, DueMessages, query_due
from delivery.config import DeliveryConfig
from delivery.exceptions import CoordinatorClosed
from delivery.outcome_log import log_outcomes
from delivery.outcomes import query_held, record
from delivery.rate_limit import Reserved, claim_within_limit, give_back, reserve
from delivery.values import Batch, Claim, ClaimedMessage, LeaseKey, MessageResult
from emailconfig.models import SmtpSettings
from organization.installation.seal import current_seal

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5
_IDLE_SECONDS = 1.0
# Reports share a commit when they follow each other this closely, for this long at most. When no report is missing, there is
# no wait.
_FOLLOW_SECONDS = 0.0008
_GATHER_SECONDS = 0.003


class _StageClaim(NamedTuple):
    """The messages claimed for a stage, and the pause that its limit asks for."""

    messages: list[ClaimedMessage]
    pause: float


_NOTHING = _StageClaim([], 0.0)


class _StageNow(NamedTuple):
    """A stage's settings and state in this batch."""

    settings: SmtpSettings
    most_recipients: int  # in one transaction
    backoff_is_over: bool


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
        self._name = uuid.uuid4().hex[:24]
        self._batches = 0
        # Not a SimpleQueue: its get() with a very short timeout sometimes waits for ever (CPython 3.11).
        self._requests: queue.Queue[Report | None] = queue.Queue()
        self._lease_ends: dict[LeaseKey, float] = {}  # by boottime()
        self._to_report = 0  # about how many connections hold messages and will report on them
        self._settings: dict[int, SmtpSettings] = {}
        # How many recipients a stage's server accepts in one transaction, where it refused more, and the settings' version then.
        self._most_recipients: dict[int, tuple[int, int]] = {}
        self._unlogged: list[tuple[list[MessageResult], datetime]] = []  # what was recorded, and when
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
        claim, began = Claim(self._next_owner(), self._config.lease), boottime()
        results = [result for request in requests for result in request.results]
        self._note_most_recipients(requests)
        capacities, seal = _capacity_per_stage(requests), current_seal()
        reserved = self._reserve(capacities)
        claims: dict[int, _StageClaim | Exception]
        try:
            with sql.pipelined_transaction():
                ours = query_held(results)
                due = [query_due(stage_id, count) for stage_id, count in capacities.items()]
                now, stages = self._now_and_stages({request.stage_id for request in requests}, seal)
                recorded = record(results, ours(), now), now
                if any(result.may_go_on for result in results):
                    due, now = [query_due(stage_id, count) for stage_id, count in capacities.items()], database_now()
                claims = {stage_due.stage_id: _claim_due(stage_due, claim, now, stages, reserved) for stage_due in due}
            self._unlogged.append(recorded)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log_failure("batch_failed", error)
            _, stages = self._now_and_stages({request.stage_id for request in requests}, seal)
            self._unlogged.extend(_record_alone(results))
            claims = {stage_id: _claim_alone(stage_id, count, claim, stages, reserved) for stage_id, count in capacities.items()}
        for result in results:
            self._lease_ends.pop(result.message.lease_key, None)
        for message in (
            message
            for stage_claim in claims.values()
            if not isinstance(stage_claim, Exception)
            for message in stage_claim.messages
        ):
            self._lease_ends[message.lease_key] = self._lease_end(began)
        _give_back_unused(reserved, claims)
        return _batches(requests, claims, stages)

    def _reserve(self, capacity: Mapping[int, int]) -> dict[int, Reserved]:
        """Reserve messages for each stage that is known to have a limit. A stage where that fails claims none in this batch."""
        reserved = {}
        for stage_id, count in capacity.items():
            settings = self._settings.get(stage_id)
            if settings is None or not settings.mails_per_minute:
                continue
            try:
                reserved[stage_id] = reserve(stage_id, count, settings.mails_per_minute)
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:
                log_failure("allowance_not_reserved", error, stage=stage_id)
        return reserved

    def _note_most_recipients(self, requests: Sequence[Report]) -> None:
        for request in requests:
            for result in request.results:
                if result.most_recipients and result.settings:
                    version, most = self._most_recipients.get(request.stage_id, (0, ANY_NUMBER))
                    most = min(most, result.most_recipients) if version == result.settings.version else result.most_recipients
                    self._most_recipients[request.stage_id] = result.settings.version, most
                    log.info("fewer_recipients_per_transaction", stage=request.stage_id, recipients=most)

    def _next_owner(self) -> str:
        """A new name for each batch.

        So one claim of a message is never mistaken for another claim of it. A commit that failed may have stored its claims all
        the same. They belong to no connection, and their messages come back when the leases have run out.
        """
        self._batches += 1
        return f"{self._name}-{self._batches}"

    def _now_and_stages(self, stages: set[int], seal: str) -> tuple[datetime, dict[int, _StageNow]]:
        """The database's time, and each configured stage's settings, which are read again only when their version changed.

        `seal` is what the database's seal must be. Otherwise no stage counts as configured.
        """
        rows = sql.fetch(statements.SETTINGS_NOW, list(stages), seal)
        configured = {}
        for row in rows:
            if row.stage_id is None:
                continue
            known = self._settings.get(row.stage_id)
            if known is None or known.version != row.settings_version:
                self._settings.update(SmtpSettings.objects.in_bulk([row.stage_id], field_name="stage_id"))
            if settings := self._settings.get(row.stage_id):
                noted_with, most = self._most_recipients.get(row.stage_id, (0, ANY_NUMBER))
                most = min(most if noted_with == settings.version else ANY_NUMBER, settings.recipients_per_transaction)
                configured[row.stage_id] = _StageNow(settings, most, bool(row.backoff_is_over))
        return parse_db_time(rows[0].now), configured

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


def _capacity_per_stage(requests: Sequence[Report]) -> dict[int, int]:
    """How many messages each stage's connections would take."""
    counts: dict[int, int] = {}
    for request in requests:
        if request.capacity:
            counts[request.stage_id] = counts.get(request.stage_id, 0) + request.capacity
    return counts


def _batches(
    requests: Sequence[Report], claims: Mapping[int, _StageClaim | Exception], stages: Mapping[int, _StageNow]
) -> list[Batch | Exception]:
    """Each request's share of the messages that were claimed for its stage."""
    messages = {
        stage_id: iter(stage_claim.messages) for stage_id, stage_claim in claims.items() if not isinstance(stage_claim, Exception)
    }
    batches: list[Batch | Exception] = []
    for request in requests:
        stage = stages.get(request.stage_id)
        settings, backoff_is_over = (stage.settings, stage.backoff_is_over) if stage else (None, False)
        stage_claim = claims.get(request.stage_id, _NOTHING) if request.capacity else _NOTHING
        if isinstance(stage_claim, Exception):
            batches.append(stage_claim)
        else:
            own = list(islice(messages.get(request.stage_id, ()), request.capacity))
            batches.append(Batch(own, settings, stage_claim.pause, backoff_is_over))
    return batches


def _give_back_unused(reserved: Mapping[int, Reserved], claims: Mapping[int, _StageClaim | Exception]) -> None:
    for stage_id, share in reserved.items():
        claim = claims[stage_id]
        if unused := share.messages - (0 if isinstance(claim, Exception) else len(claim.messages)):
            try:
                give_back(stage_id, unused)
            except (OperationalError, InterfaceError) as error:  # the claimed messages must leave all the same
                log_failure("allowance_not_given_back", error, stage=stage_id)


def _claim_due(
    due: DueMessages, claim: Claim, now: datetime, stages: Mapping[int, _StageNow], reserved: Mapping[int, Reserved]
) -> _StageClaim:
    if due.stage_id not in stages:  # not configured any more
        return _NOTHING
    stage = stages[due.stage_id]
    limit, share = stage.settings.mails_per_minute, reserved.get(due.stage_id)
    return _StageClaim(*claim_within_limit(due, claim, now, stage.most_recipients, limit, share))


def _record_alone(results: Sequence[MessageResult]) -> Iterator[tuple[list[MessageResult], datetime]]:
    """Record each result in a transaction of its own. One that can't be recorded must not affect the others.

    Yields what was recorded, and when.
    """
    for result in results:
        try:
            with transaction.atomic():
                now = database_now()
                kept = record([result], query_held([result])(), now)
            yield kept, now
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log_failure("outcome_not_recorded", error, message=result.message.pk)


def _claim_alone(
    stage_id: int, count: int, claim: Claim, stages: Mapping[int, _StageNow], reserved: Mapping[int, Reserved]
) -> _StageClaim | Exception:
    """Claim for one stage in a transaction of its own. A stage whose messages can't be claimed must not stop the others."""
    try:
        with transaction.atomic():
            return _claim_due(query_due(stage_id, count), claim, database_now(), stages, reserved)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log_failure("claim_failed", error, stage=stage_id)
        return error
