"""The worker's one hand on the rows: all its connections report here what became of their mails and get the next ones.

Each turn serves everybody who is waiting in one transaction, so that a commit is shared by several mails and still no
connection has more than two that were handed over and not yet marked.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog
from django.db import DatabaseError, InterfaceError, connection, transaction

from emailconfig.models import SmtpSettings
from outbox import claims
from outbox.claims import Claimed
from outbox.hand_over import HandOver, hand_over
from outbox.models import Content
from outbox.outcomes import Finished, record

log = structlog.get_logger(__name__)

MAILS_PER_CLAIM = 100
# Larger mails are read by the connection that sends them, one after the other.
LARGE_BYTES = 256 * 1024
_RETRY_SECONDS = 0.5
# Others' reports that come within this time share the commit.
_GATHER_SECONDS = 0.001


@dataclass(frozen=True)
class Turn:
    """What a connection may send next, with the settings as they are now and the content of all but large mails."""

    taken: Sequence[HandOver]
    settings: SmtpSettings | None
    contents: Mapping[int, bytes]


@dataclass
class _Request:
    """One connection's report, how many mails it would take next, and whether it is its last.

    Without a stage: the worker's own, to renew the leases. On this thread, so that no two transactions of a worker ever
    wait for each other's rows.
    """

    stage_id: int | None = None
    finished: Sequence[Finished] = ()
    wanted: int = 0
    leaving: bool = False
    answer: Future[Turn] = field(default_factory=Future)


class Ledger:
    """Runs on a thread of its own between `start()` and `close()`."""

    def __init__(self) -> None:
        self.owner = claims.new_owner()
        self._retired: set[str] = set()
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._claimed: dict[int, deque[Claimed]] = defaultdict(deque)
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Serve what was asked before, then end."""
        self._requests.put(None)
        self._thread.join()

    def exchange(self, stage_id: int, finished: Sequence[Finished], wanted: int) -> Turn:
        """Record `finished`, and take up to `wanted` mails of the stage for the wire. None taken: no more are due.

        Returns after the commit. While the database is away it waits, for as long as the mails are ours.
        """
        return self._ask(_Request(stage_id, finished, wanted))

    def leave(self, stage_id: int, finished: Sequence[Finished]) -> None:
        """Record `finished` and give back what was claimed for the stage: its connection broke or can't be had."""
        self._ask(_Request(stage_id, finished, 0, leaving=True))

    def renew(self) -> None:
        """Keep the leases; soon, without waiting for it."""
        self._requests.put(_Request())

    def _ask(self, request: _Request) -> Turn:
        self._requests.put(request)
        return request.answer.result()

    def _run(self) -> None:
        try:
            while requests := self._waiting():
                self._serve_until_done(requests)
        finally:
            connection.close()

    def _waiting(self) -> list[_Request]:
        """Everybody who is waiting; none when it is time to end."""
        first = self._requests.get()
        requests = [] if first is None else [first]
        time.sleep(_GATHER_SECONDS)
        while not self._requests.empty():
            request = self._requests.get()
            if request is None:
                self._requests.put(None)
                break
            requests.append(request)
        return requests

    def _serve_until_done(self, requests: list[_Request]) -> None:
        """What a server accepted must be marked: a database that is away is waited for until the leases run out."""
        deadline = time.monotonic() + claims.LEASE.total_seconds()
        while True:
            try:
                answers = self._serve(requests)
            except (DatabaseError, InterfaceError) as error:
                log.error("ledger_waits_for_the_database", error=str(error))
                connection.close()
                self._retire()
                if time.monotonic() > deadline:
                    self._give_up(requests, error)
                    return
                time.sleep(_RETRY_SECONDS)
            except Exception as error:  # a fault of ours
                log.exception("ledger_failed")
                self._give_up(requests, error)
                return
            else:
                for request, turn in zip(requests, answers, strict=True):
                    request.answer.set_result(turn)
                return

    def _give_up(self, requests: list[_Request], error: Exception) -> None:
        """Nobody can say any more what became of these mails: their leases are left to run out."""
        self._retire()
        for request in requests:
            request.answer.set_exception(error)

    def _retire(self) -> None:
        """Go on under a new name. A failed commit may have happened all the same: what it handed over, nobody knows of.

        Connections still report under the name their mails were handed over by; what nobody reports is no longer
        renewed, and comes back when its lease has run out.
        """
        self._retired.add(self.owner)
        self._claimed.clear()
        self.owner = claims.new_owner()

    def _serve(self, requests: list[_Request]) -> list[Turn]:
        for owner in tuple(self._retired):
            claims.release(owner)
            self._retired.discard(owner)
        if any(request.stage_id is None for request in requests):
            claims.renew(self.owner)
        batches = [self._next_claimed(request.stage_id, request.wanted) for request in requests]
        with transaction.atomic():
            record([one for request in requests for one in request.finished])
            taken = hand_over([one for batch in batches for one in batch], self.owner)
        for request in requests:
            if request.leaving and request.stage_id is not None:
                self._claimed.pop(request.stage_id, None)
                claims.release(self.owner, stage_id=request.stage_id)
        return self._turns(requests, batches, {one.message.pk: one for one in taken})

    def _turns(self, requests: list[_Request], batches: list[list[Claimed]], taken: Mapping[int, HandOver]) -> list[Turn]:
        stages = {request.stage_id for request in requests if request.stage_id is not None}
        settings = {one.stage_id: one for one in SmtpSettings.objects.filter(stage__in=stages)}
        contents = _contents([one.message.pk for one in taken.values() if one.message.size <= LARGE_BYTES])
        return [
            Turn(
                [taken[one.message_id] for one in batch if one.message_id in taken], settings.get(request.stage_id or 0), contents
            )
            for request, batch in zip(requests, batches, strict=True)
        ]

    def _next_claimed(self, stage_id: int | None, wanted: int) -> list[Claimed]:
        if stage_id is None:
            return []
        claimed = self._claimed[stage_id]
        if len(claimed) < wanted:
            claimed.extend(claims.claim(stage_id, self.owner, MAILS_PER_CLAIM))
        return [claimed.popleft() for _ in range(min(wanted, len(claimed)))]


def _contents(messages: Sequence[int]) -> dict[int, bytes]:
    if not messages:
        return {}
    found = Content.objects.filter(message__in=messages)
    return {message_id: bytes(data) for message_id, data in found.values_list("message_id", "data")}
