"""Accept messages of many gateway sessions in groups.

Messages that arrive during a commit share the next one. A session is answered after the commit that stores its message.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, close_old_connections, connection, connections

from gateway.exceptions import AcceptanceStopped
from organization.models import Credential
from outbox.exceptions import SubmissionRefused
from outbox.models import Source
from outbox.submission import Envelope, submit_together
from outbox.values import AcceptedMessage, Submission

log = structlog.get_logger(__name__)

# A group ends with the message that reaches one of these limits.
MESSAGES_PER_COMMIT = 100
BYTES_PER_COMMIT = 16 * 1024 * 1024
_AT_ONCE_SECONDS = 1.0
# A connection is tested, and after its maximum age replaced, no more often than this: the test costs a round trip.
_TEST_SECONDS = 1.0
_CANCEL_SECONDS = 2.0

Answer = AcceptedMessage | SubmissionRefused | Exception


@dataclass(frozen=True)
class ReceivedMessage:
    """A message from a signed-in session."""

    credential: Credential
    envelope: Envelope
    content: bytes
    client: str = ""  # the client's IP address

    @property
    def submission(self) -> Submission:
        app, stage = self.credential.app, self.credential.stage
        return Submission(app, stage, self.envelope, self.content, Source.GATEWAY, self.credential, client=self.client)


@dataclass(frozen=True)
class PendingMessage:
    mail: ReceivedMessage
    answer: asyncio.Future[AcceptedMessage]
    loop: asyncio.AbstractEventLoop


class Acceptance:
    """Store messages in groups, on a separate thread."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[PendingMessage | None] = queue.SimpleQueue()
        self._giving_up = threading.Event()
        self._storing: Sequence[PendingMessage] = ()
        self._database: Any = None  # the thread's
        threading.Thread(target=self._run, name="gateway-acceptance", daemon=True).start()

    async def accept(self, mail: ReceivedMessage) -> AcceptedMessage:
        """Store the message, and return it after the commit.

        Raises SubmissionRefused, AcceptanceStopped or a database error. Then nothing was stored.
        """
        if self._giving_up.is_set():
            raise AcceptanceStopped
        loop = asyncio.get_running_loop()
        waiting = PendingMessage(mail, loop.create_future(), loop)
        self._queue.put(waiting)
        return await waiting.answer

    def give_up(self) -> int:
        """Store nothing more, and cancel the running statement if the database can.

        Returns how many messages were still waiting. Call it from the event loop.
        """
        self._giving_up.set()
        dropped = _drain(self._queue)
        for waiting in dropped:
            _answer([waiting], [AcceptanceStopped()])
        self._queue.put(None)
        if storing := self._storing:
            threading.Thread(target=self._cancel, name="gateway-cancel", daemon=True).start()
        return len(dropped) + len(storing)

    def _run(self) -> None:
        self._database = connections[DEFAULT_DB_ALIAS]
        tested = 0.0
        while group := next_group(self._queue):
            self._storing = group
            if time.monotonic() - tested > _TEST_SECONDS:
                close_old_connections()
                tested = time.monotonic()
            answers = store([waiting.mail for waiting in group], self._giving_up)
            self._storing = ()
            with suppress(RuntimeError):  # the gateway has stopped meanwhile
                group[0].loop.call_soon_threadsafe(_answer, group, answers)
        connection.close()

    def _cancel(self) -> None:
        """Cancel the running statement on PostgreSQL.

        PostgreSQL would finish a statement after its client has gone, and the app would send the message again. On SQLite, an
        uncommitted transaction ends with this process.
        """
        if self._database.vendor == "postgresql" and self._database.connection is not None:
            try:
                self._database.connection.cancel_safe(timeout=_CANCEL_SECONDS)
            except Exception as error:
                log.warning("gateway_could_not_cancel", error=str(error))


def next_group(waiting: queue.SimpleQueue[PendingMessage | None]) -> list[PendingMessage]:
    """Wait for a message, and return it with all others that are already waiting.

    They share a commit, within the limits on number and bytes. None in the queue ends it.
    """
    group: list[PendingMessage] = []
    size = 0
    while (entry := waiting.get()) is not None:
        group.append(entry)
        size += len(entry.mail.content)
        if len(group) >= MESSAGES_PER_COMMIT or size >= BYTES_PER_COMMIT or waiting.empty():
            break
    return group


def _drain(waiting: queue.SimpleQueue[PendingMessage | None]) -> list[PendingMessage]:
    entries = []
    with suppress(queue.Empty):
        while (entry := waiting.get_nowait()) is not None:
            entries.append(entry)
    return entries


def store(messages: Sequence[ReceivedMessage], giving_up: threading.Event | None = None) -> list[Answer]:
    """Store the messages and return one answer for each.

    The message of a credential that was revoked meanwhile is refused, even in an open session. If the group can't be stored, each
    message is tried alone, so that a bad one doesn't affect the others.
    """
    if giving_up is not None and giving_up.is_set():
        return [AcceptanceStopped()] * len(messages)
    began = time.monotonic()
    try:
        return [*submit_together([message.submission for message in messages])]
    except Exception as error:
        connection.close()  # the connection itself may have failed; the next try opens a new one
        away = isinstance(error, OperationalError | InterfaceError)
        slow = time.monotonic() - began > _AT_ONCE_SECONDS
        if len(messages) == 1 or (away and slow):  # wait for a locked database once, not once for each message
            return [error] * len(messages)
        return [answer for mail in messages for answer in store([mail], giving_up)]


def _answer(group: Sequence[PendingMessage], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(group, answers, strict=True):
        if waiting.answer.done():
            continue  # the session is gone
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)
