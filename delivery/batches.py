"""What a batch does in the database: it records results, and claims the next messages.

It is one transaction, which waits for PostgreSQL once. Its statements are sent together with the COMMIT, and what they return is
read after it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import InterfaceError, OperationalError, connection, transaction

from common import sql
from common.clock import database_now
from common.database_trouble import log_failure
from delivery.claims.claim import NOTHING, Claimed, check, query_claim
from delivery.claims.in_force import StageInForce, query_in_force
from delivery.claims.second_check import look_again
from delivery.config import DeliveryConfig
from delivery.known_settings import KnownSettings
from delivery.leases import queue_again
from delivery.outcomes import record
from delivery.rate_limit import Reserved, give_back, pause_after, reserve, within_limit
from delivery.statements import DueMessage
from delivery.values import Claim, ClaimedMessage, MessageResult
from emailconfig.models import SmtpSettings

# All that is claimed may turn out to be held, and settings may change at each claim. This is how often one batch claims again.
_CLAIMS_AT_MOST = 50


class StageClaim(NamedTuple):
    """What was claimed of a stage, the settings to send it with (None: there are none), and the pause that its limit asks for."""

    messages: Sequence[ClaimedMessage] = ()
    settings: SmtpSettings | None = None
    backoff_is_over: bool = False
    pause: float = 0.0
    # Nothing may leave, but more may be due: what was claimed is held, or the settings were others than was known.
    is_worth_another: bool = False


class Recorded(NamedTuple):
    """Results that were recorded, and when."""

    results: list[MessageResult]
    now: datetime


class Written(NamedTuple):
    """What a batch has written: all that it recorded, and of each stage what it claimed, or why it couldn't."""

    recorded: list[Recorded]
    claims: dict[int, StageClaim | Exception]


class _Answers(NamedTuple):
    """What the database said in one transaction: what is recorded and claimed, and what was in force in each stage."""

    recorded: Recorded
    claims: Mapping[int, Claim]
    claimed: Mapping[int, Claimed]
    in_force: Mapping[int, StageInForce]
    reserved: Mapping[int, Reserved]


class Batches:
    """The batches of one worker, one after the other."""

    def __init__(self, config: DeliveryConfig) -> None:
        self._lease = config.lease
        self._name = uuid.uuid4().hex[:20]
        self._claims = 0
        self._settings = KnownSettings()

    def write(self, results: Mapping[int, Sequence[MessageResult]], wanted: Mapping[int, int]) -> Written:
        """Record the results of each stage, and claim as many of its messages as are wanted. 0: only tell its settings.

        Raises OperationalError or InterfaceError while the database is away. Then it may be tried again.
        """
        for stage_id, of_stage in results.items():
            self._settings.note_most_recipients(stage_id, of_stage)
        every_result = [result for of_stage in results.values() for result in of_stage]
        try:
            answers = self._ask(every_result, wanted)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log_failure("batch_failed", error)
            recorded = list(_record_alone(every_result))
            claims = {stage_id: self._claim_alone(stage_id, count) for stage_id, count in wanted.items()}
        else:
            recorded = [answers.recorded]
            claims = {stage_id: self._stage_claim(stage_id, count, answers) for stage_id, count in wanted.items()}
        for stage_id, claim in claims.items():
            claims[stage_id] = self._until_some_leave(claim, stage_id, wanted[stage_id])
        return Written(recorded, claims)

    def _ask(self, results: Sequence[MessageResult], wanted: Mapping[int, int]) -> _Answers:
        """The transaction. A stage with unknown settings only has them told, and claims with them the next time."""
        claims, reserved = {stage_id: self._next_claim() for stage_id in wanted}, self._reserve(wanted)
        with sql.pipelined_transaction():
            read_recorded = record(results)
            read_claimed = {
                stage_id: query_claim(stage_id, count, claims[stage_id], settings.version)
                for stage_id, settings in self._settings.of(wanted).items()
                if (count := within_limit(wanted[stage_id], settings.mails_per_minute, reserved.get(stage_id)))
            }
            read_in_force = {stage_id: query_in_force(stage_id) for stage_id in wanted}
        in_force = {stage_id: read() for stage_id, read in read_in_force.items()}
        claimed = {stage_id: read() for stage_id, read in read_claimed.items()}
        now = max(stage.now for stage in in_force.values())
        return _Answers(Recorded(read_recorded(), now), claims, claimed, in_force, reserved)

    def _next_claim(self) -> Claim:
        """A claim with a new name.

        So one claim of a message is never mistaken for another claim of it. A commit that failed may have stored its claims all
        the same. They belong to no connection, and their messages come back when the leases have run out.
        """
        self._claims += 1
        return Claim(f"{self._name}-{self._claims}", self._lease)

    def _reserve(self, wanted: Mapping[int, int]) -> dict[int, Reserved]:
        """Reserve messages for each stage that is known to have a limit. A stage where that fails claims none in this batch."""
        reserved = {}
        for stage_id, settings in self._settings.of(wanted).items():
            if not settings.mails_per_minute or not wanted[stage_id]:
                continue
            try:
                reserved[stage_id] = reserve(stage_id, wanted[stage_id], settings.mails_per_minute)
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:
                log_failure("allowance_not_reserved", error, stage=stage_id)
        return reserved

    def _stage_claim(self, stage_id: int, wanted: int, answers: _Answers) -> StageClaim | Exception:
        """What may leave of what was claimed, with the stage's settings as they are now.

        If the database fails now, the others of these messages come back when their leases have run out.
        """
        in_force, claimed = answers.in_force[stage_id], answers.claimed.get(stage_id, NOTHING)
        claim = answers.claims[stage_id]
        try:
            has_changed = self._settings.learn(stage_id, in_force)
            settings = self._settings.get(stage_id)
            if settings is None:  # they may have been deleted after the claim
                _take_back(claimed, claim)
                return StageClaim()
        except Exception as error:
            return _failed(stage_id, error)
        most_recipients = self._settings.most_recipients(settings)
        leaving, unusual = check(claimed, claim, in_force, most_recipients)
        if unusual:
            leaving += self._look_again(stage_id, unusual, claim, most_recipients)
        reserved = answers.reserved.get(stage_id)
        if reserved:
            _give_back(stage_id, reserved.messages - len(leaving))
        return StageClaim(
            leaving,
            settings,
            in_force.backoff_is_over,
            pause_after(len(leaving), wanted, settings.mails_per_minute, reserved),
            is_worth_another=bool(wanted and not leaving and (has_changed or unusual)),
        )

    def _look_again(
        self, stage_id: int, messages: Sequence[DueMessage], before: Claim, most_recipients: int
    ) -> list[ClaimedMessage]:
        try:
            with sql.pipelined_transaction():
                return look_again(stage_id, messages, before, self._next_claim(), most_recipients)
        except Exception as error:
            _failed(stage_id, error)
            return []

    def _claim_alone(self, stage_id: int, count: int) -> StageClaim | Exception:
        """Claim for one stage in a transaction of its own. A stage whose messages can't be claimed must not stop the others."""
        try:
            answers = self._ask([], {stage_id: count})
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            return _failed(stage_id, error)
        return self._stage_claim(stage_id, count, answers)

    def _until_some_leave(self, claim: StageClaim | Exception, stage_id: int, count: int) -> StageClaim | Exception:
        """Claim again while all that was claimed turned out to be held, or the settings to be others."""
        for _ in range(_CLAIMS_AT_MOST):
            if isinstance(claim, Exception) or not claim.is_worth_another:
                break
            try:
                claim = self._claim_alone(stage_id, count)
            except (OperationalError, InterfaceError) as error:  # what the batch has written must be answered all the same
                claim = _failed(stage_id, error)
        return claim


def _failed(stage_id: int, error: Exception) -> Exception:
    log_failure("claim_failed", error, stage=stage_id)
    if isinstance(error, OperationalError | InterfaceError):
        connection.close()
    return error


def _take_back(claimed: Claimed, claim: Claim) -> None:
    with transaction.atomic():
        queue_again([message.pk for message in claimed.messages], claim.owner)


def _give_back(stage_id: int, unused: int) -> None:
    try:
        if unused:
            give_back(stage_id, unused)
    except (OperationalError, InterfaceError) as error:  # the claimed messages must leave all the same
        log_failure("allowance_not_given_back", error, stage=stage_id)


def _record_alone(results: Sequence[MessageResult]) -> Iterator[Recorded]:
    """Record each result in a transaction of its own. One that can't be recorded must not affect the others."""
    for result in results:
        try:
            with transaction.atomic():
                kept, now = record([result])(), database_now()
            yield Recorded(kept, now)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log_failure("outcome_not_recorded", error, message=result.message.pk)
