"""The worker's one hand on the rows: all its connections report here what became of their mails and get the next ones.

Each turn serves everybody who has reported in one transaction, so that a commit is shared by several mails and still no
connection has more than two whose content was sent and that are not yet marked. The ledger also keeps the leases of the
mails that its connections hold.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from common import sql
from common.clock import as_moment, database_now, uptime
from common.database_trouble import log_failure
from common.outage import Outage
from delivery import leases, statements
from delivery.claims import ANY_NUMBER, DueMail, ask_due_mail
from delivery.config import DeliveryConfig
from delivery.exceptions import LedgerClosed
from delivery.outcomes import ask_held, record
from delivery.rate_limit import Reserved, give_back, hand_over_in_pace, reserve
from delivery.values import Claim, Finished, HandOver, Hold, Turn
from emailconfig.models import SmtpSettings

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 0.5
_IDLE_SECONDS = 1.0
# Others' reports share the commit when they follow each other this closely, for this long at most; and nobody waits when
# none is missing.
_FOLLOW_SECONDS = 0.0008
_GATHER_SECONDS = 0.003


class _Found(NamedTuple):
    """What was taken for a stage, and the pause that its limit asks for."""

    mails: list[HandOver]
    pause: float


_NOTHING = _Found([], 0.0)


class _StageNow(NamedTuple):
    """A stage as it is at this turn."""

    settings: SmtpSettings
    most_recipients: int  # in one transaction
    trouble_is_over: bool


@dataclass(frozen=True)
class Report:
    """One connection's report, and how many mails it would take next."""

    stage_id: int
    finished: Sequence[Finished]
    wanted: int
    answer: queue.SimpleQueue[Turn | Exception] = field(default_factory=queue.SimpleQueue)

    def turn(self) -> Turn:
        """Called once. Returns after the turn's commit. While the database is away it waits, for as long as the mails are ours;
        then it raises. It also raises LedgerClosed."""
        answer = self.answer.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def take_back(self) -> Sequence[HandOver]:
        """The mails of a turn that is there and was not read. Its reader finds none."""
        with suppress(queue.Empty):
            answer = self.answer.get_nowait()
            mails = answer.taken if isinstance(answer, Turn) else ()
            self.answer.put(answer._replace(taken=()) if isinstance(answer, Turn) else answer)
            return mails
        return ()


class Ledger:
    """Runs on a thread of its own between `start()` and `close()`."""

    def __init__(self, config: DeliveryConfig) -> None:
        self._config = config
        self._name = uuid.uuid4().hex[:24]
        self._turns = 0
        # Not a SimpleQueue: its get() with a very short timeout now and then waits for ever (CPython 3.11).
        self._requests: queue.Queue[Report | None] = queue.Queue()
        self._lease_ends: dict[Hold, float] = {}  # by uptime()
        self._to_report = 0  # about how many connections hold mail and will tell what became of it
        self._settings: dict[int, SmtpSettings] = {}
        # How many recipients a stage's server takes in one transaction, where it refused more, and with which settings that was.
        self._most_recipients: dict[int, tuple[int, int]] = {}
        self._renewed = uptime()
        self._outage = Outage("ledger_waits_for_the_database", "ledger_reached_the_database")
        self._closing, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Serve what was asked before, then end. Whoever asks later hears that."""
        self._closing.set()
        self._requests.put(None)
        self._thread.join()
        self._closed.set()
        with suppress(queue.Empty):
            while True:
                if request := self._requests.get_nowait():
                    request.answer.put(LedgerClosed())

    def report(self, stage_id: int, finished: Sequence[Finished], wanted: int) -> Report:
        """Record `finished`, and take up to `wanted` mails of the stage for the wire. None taken: no more are due."""
        request = Report(stage_id, finished, wanted)
        self._requests.put(request)
        if self._closed.is_set():  # now, and not before: it may have been closed in between
            request.answer.put(LedgerClosed())
        return request

    def exchange(self, stage_id: int, finished: Sequence[Finished], wanted: int) -> Turn:
        """As report(), and wait for the turn."""
        return self.report(stage_id, finished, wanted).turn()

    def is_ours(self, mail: HandOver) -> bool:
        """Whether a mail that was handed over is still under its lease, so that sending it can't surprise anybody."""
        return self._lease_ends.get(mail.hold, 0.0) > uptime()

    def _run(self) -> None:
        try:
            while True:
                requests = self._waiting()
                if requests:
                    self._serve_until_done(requests)
                elif self._closing.is_set():
                    return
                self._renew_in_time()
        finally:
            connection.close()

    def _waiting(self) -> list[Report]:
        """Everybody who is waiting; nobody, when it is time to look after the leases or to end."""
        try:
            requests = [self._requests.get(timeout=_IDLE_SECONDS)]
        except queue.Empty:
            return []
        latest = uptime() + _GATHER_SECONDS
        with suppress(queue.Empty):
            while (left := latest - uptime()) > 0:
                patience = min(left, _FOLLOW_SECONDS) if len(requests) < self._to_report else 0.0
                requests.append(self._requests.get(timeout=patience))
        self._to_report = max(0, self._to_report - len(requests))
        return [request for request in requests if request is not None]

    def _serve_until_done(self, requests: list[Report]) -> None:
        """What a server accepted must be marked: a database that is away is waited for until the leases run out."""
        deadline = uptime() + self._config.lease.total_seconds()
        while True:
            try:
                answers = self._serve(requests)
            except (OperationalError, InterfaceError) as error:
                self._outage.note(error)
                connection.close()
                if uptime() > deadline:
                    return self._tell_failure(requests, error)
                time.sleep(_RETRY_SECONDS)
            except Exception as error:  # a fault of ours
                log_failure("ledger_failed", error)
                return self._tell_failure(requests, error)
            else:
                self._outage.end()
                self._to_report += sum(isinstance(answer, Turn) and bool(answer.taken) for answer in answers)
                for request, answer in zip(requests, answers, strict=True):
                    request.answer.put(answer)
                return None

    def _tell_failure(self, requests: Sequence[Report], error: Exception) -> None:
        """Nobody can say any more what became of these mails: their leases are left to run out."""
        for request in requests:
            for one in request.finished:
                self._lease_ends.pop(one.taken.hold, None)
            request.answer.put(error)

    def _serve(self, requests: Sequence[Report]) -> list[Turn | Exception]:
        claim, began = Claim(self._next_owner(), self._config.lease), uptime()
        finished = [one for request in requests for one in request.finished]
        self._note_most_recipients(requests)
        wanted = _wanted(requests)
        reserved = self._reserve(wanted)
        found: dict[int, _Found | Exception]
        try:
            with sql.pipelined_transaction():
                ours = ask_held(finished)
                due = [ask_due_mail(stage_id, count) for stage_id, count in wanted.items()]
                now, stages = self._now_and_stages({request.stage_id for request in requests})
                record(finished, ours(), now)
                if any(one.may_go_on for one in finished):
                    due, now = [ask_due_mail(stage_id, count) for stage_id, count in wanted.items()], database_now()
                found = {one.stage_id: _hand_over(one, claim, now, stages, reserved) for one in due}
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log_failure("turn_failed", error)
            _, stages = self._now_and_stages({request.stage_id for request in requests})
            _record_alone(finished)
            found = {one: _hand_over_alone(one, count, claim, stages, reserved) for one, count in wanted.items()}
        for one in finished:
            self._lease_ends.pop(one.taken.hold, None)
        for mail in (mail for taken in found.values() if not isinstance(taken, Exception) for mail in taken.mails):
            self._lease_ends[mail.hold] = self._lease_end(began)
        _give_back_unused(reserved, found)
        return _turns(requests, found, stages)

    def _reserve(self, wanted: Mapping[int, int]) -> dict[int, Reserved]:
        """For each stage that is known to have a limit. One where that fails takes no mails in this turn."""
        reserved = {}
        for stage_id, count in wanted.items():
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
            for one in request.finished:
                if one.most_recipients and one.settings:
                    version, most = self._most_recipients.get(request.stage_id, (0, ANY_NUMBER))
                    most = min(most, one.most_recipients) if version == one.settings.version else one.most_recipients
                    self._most_recipients[request.stage_id] = one.settings.version, most
                    log.info("fewer_recipients_per_transaction", stage=request.stage_id, recipients=most)

    def _next_owner(self) -> str:
        """A new name each turn: one hand-over of a mail can't be taken for another of the same mail, and what a commit that
        failed may have stored all the same, nobody answers for: it comes back when its lease has run out."""
        self._turns += 1
        return f"{self._name}-{self._turns}"

    def _now_and_stages(self, stages: set[int]) -> tuple[datetime, dict[int, _StageNow]]:
        """The database's time, and each configured stage's settings, read anew only when their version is another."""
        rows = sql.fetch(statements.SETTINGS_NOW, list(stages))
        found = {}
        for row in rows:
            if row.stage_id is None:
                continue
            known = self._settings.get(row.stage_id)
            if known is None or known.version != row.settings_version:
                self._settings.update(SmtpSettings.objects.in_bulk([row.stage_id], field_name="stage_id"))
            if settings := self._settings.get(row.stage_id):
                noted_with, most = self._most_recipients.get(row.stage_id, (0, ANY_NUMBER))
                most = min(most if noted_with == settings.version else ANY_NUMBER, settings.recipients_per_transaction)
                found[row.stage_id] = _StageNow(settings, most, bool(row.trouble_is_over))
        return as_moment(rows[0].now), found

    def _renew_in_time(self) -> None:
        if uptime() < self._renewed + self._config.renew_every.total_seconds():
            return
        began = uptime()
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
        """The lease is over for us a little before it is for the others."""
        return began + self._config.lease.total_seconds() - self._config.lease_margin_seconds


def _wanted(requests: Sequence[Report]) -> dict[int, int]:
    """How many mails each stage's connections would take."""
    wanted: dict[int, int] = {}
    for request in requests:
        if request.wanted:
            wanted[request.stage_id] = wanted.get(request.stage_id, 0) + request.wanted
    return wanted


def _turns(
    requests: Sequence[Report], found: Mapping[int, _Found | Exception], stages: Mapping[int, _StageNow]
) -> list[Turn | Exception]:
    """Each request's share of what was taken for its stage."""
    mails = {stage_id: iter(taken.mails) for stage_id, taken in found.items() if not isinstance(taken, Exception)}
    turns: list[Turn | Exception] = []
    for request in requests:
        stage = stages.get(request.stage_id)
        settings, trouble_is_over = (stage.settings, stage.trouble_is_over) if stage else (None, False)
        taken = found.get(request.stage_id, _NOTHING) if request.wanted else _NOTHING
        if isinstance(taken, Exception):
            turns.append(taken)
        else:
            own = list(islice(mails.get(request.stage_id, ()), request.wanted))
            turns.append(Turn(own, settings, taken.pause, trouble_is_over))
    return turns


def _give_back_unused(reserved: Mapping[int, Reserved], found: Mapping[int, _Found | Exception]) -> None:
    for stage_id, share in reserved.items():
        taken = found[stage_id]
        if unused := share.mails - (0 if isinstance(taken, Exception) else len(taken.mails)):
            try:
                give_back(stage_id, unused)
            except (OperationalError, InterfaceError) as error:  # the mails that were taken must leave all the same
                log_failure("allowance_not_given_back", error, stage=stage_id)


def _hand_over(
    due: DueMail, claim: Claim, now: datetime, stages: Mapping[int, _StageNow], reserved: Mapping[int, Reserved]
) -> _Found:
    if due.stage_id not in stages:  # not configured any more
        return _NOTHING
    stage = stages[due.stage_id]
    limit, share = stage.settings.mails_per_minute, reserved.get(due.stage_id)
    return _Found(*hand_over_in_pace(due, claim, now, stage.most_recipients, limit, share))


def _record_alone(finished: Sequence[Finished]) -> None:
    """Each mail in a transaction of its own: one whose outcome can't be written down must not take the others with it."""
    for one in finished:
        try:
            with transaction.atomic():
                now = database_now()
                record([one], ask_held([one])(), now)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log_failure("outcome_not_recorded", error, message=one.taken.pk)


def _hand_over_alone(
    stage_id: int, wanted: int, claim: Claim, stages: Mapping[int, _StageNow], reserved: Mapping[int, Reserved]
) -> _Found | Exception:
    """A stage whose mail can't be handed over must not stop the others."""
    try:
        with transaction.atomic():
            return _hand_over(ask_due_mail(stage_id, wanted), claim, database_now(), stages, reserved)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log_failure("hand_over_failed", error, stage=stage_id)
        return error
