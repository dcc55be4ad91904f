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
from organization.credentials import still_valid
from outbox.exceptions import SubmissionRefused
from outbox.models import Source
from outbox.submission import Envelope, submit_together
from outbox.values import AcceptedMessage, Submission

log = structlog.get_logger(__name__)

# A group ends with the message that reaches one of these limits.
MESSAGES_PER_COMMIT = 100
BYTES_PER_COMMIT = 16 * 1024 * 1024
_AT_ONCE_SECONDS = 1.0
_CANCEL_SECONDS = 2.0

Answer = AcceptedMessage | SubmissionRefused | Exception


@dataclass(frozen=True)
class ReceivedMessage:
    """A message from a signed-in session."""

    credential_id: int
    envelope: Envelope
    content: bytes
    client: str = ""  # the client's IP address


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
        while group := next_group(self._queue):
            self._storing = group
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

    If the group can't be stored, each message is tried alone, so that a bad one doesn't affect the others.
    """
    if giving_up is not None and giving_up.is_set():
        return [AcceptanceStopped()] * len(messages)
    close_old_connections()
    began = time.monotonic()
    try:
        return _store(messages)
    except Exception as error:
        connection.close()  # the connection itself may have failed; the next try opens a new one
        away = isinstance(error, OperationalError | InterfaceError)
        slow = time.monotonic() - began > _AT_ONCE_SECONDS
        if len(messages) == 1 or (away and slow):  # wait for a locked database once, not once for each message
            return [error] * len(messages)
        return [answer for mail in messages for answer in store([mail], giving_up)]


def _store(messages: Sequence[ReceivedMessage]) -> list[Answer]:
    """Store the messages of credentials that are still valid.

    The credentials are read again, so that a revoked one is refused even in an open session.
    """
    credentials = still_valid({mail.credential_id for mail in messages})
    answers: list[Answer] = [SubmissionRefused(535, "5.7.8", "The credential was revoked, or its last day has passed.")] * len(
        messages
    )
    places, submissions = [], []
    for place, mail in enumerate(messages):
        if credential := credentials.get(mail.credential_id):
            places.append(place)
            submissions.append(
                Submission(
                    credential.app, credential.stage, mail.envelope, mail.content, Source.GATEWAY, credential, client=mail.client
                )
            )
    for place, answer in zip(places, submit_together(submissions), strict=True):
        answers[place] = answer
    return answers


def _answer(group: Sequence[PendingMessage], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(group, answers, strict=True):
        if waiting.answer.done():
            continue  # the session is gone
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)
