"""Accepting mails of many gateway sessions at once: those that come in while a commit is under way share the next one.

A session is answered after the commit that holds its mail.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import InterfaceError, OperationalError, close_old_connections, connection

from organization.credentials import usable_now
from outbox.models import Door
from outbox.submission import Accepted, Envelope, Submission, SubmissionRefused, submit_together

MAILS_PER_COMMIT = 100
_AT_ONCE_SECONDS = 1.0

Answer = Accepted | SubmissionRefused | Exception


@dataclass(frozen=True)
class Handed:
    """A mail that a signed-in session handed in."""

    credential_id: int
    envelope: Envelope
    content: bytes
    client: str = ""  # the address that it came from


@dataclass(frozen=True)
class _Waiting:
    mail: Handed
    answer: asyncio.Future[Accepted]
    loop: asyncio.AbstractEventLoop


class Acceptance:
    """Stores mails on a thread of its own, in groups."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="gateway-acceptance", daemon=True).start()

    async def accept(self, mail: Handed) -> Accepted:
        """The stored mail, committed. Raises SubmissionRefused, or a database error: then nothing was stored."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(mail, loop.create_future(), loop)
        self._queue.put(waiting)
        return await waiting.answer

    def _run(self) -> None:
        while True:
            group = self._next_group()
            answers = store([waiting.mail for waiting in group])
            group[0].loop.call_soon_threadsafe(_tell, group, answers)

    def _next_group(self) -> list[_Waiting]:
        group = [self._queue.get()]
        while len(group) < MAILS_PER_COMMIT and not self._queue.empty():
            group.append(self._queue.get())
        return group


def store(mails: Sequence[Handed]) -> list[Answer]:
    """One answer per mail. When the group can't be stored, each is tried alone, so that one can't spoil the others."""
    close_old_connections()
    began = time.monotonic()
    try:
        return _store(mails)
    except Exception as error:
        connection.close()  # it may be the connection that failed: the next try makes a new one
        away = isinstance(error, OperationalError | InterfaceError)
        slow = time.monotonic() - began > _AT_ONCE_SECONDS
        if len(mails) == 1 or (away and slow):  # a locked database is waited for once, not by each mail
            return [error] * len(mails)
        return [answer for mail in mails for answer in store([mail])]


def _store(mails: Sequence[Handed]) -> list[Answer]:
    """The credentials are read again, so that a revoked one is refused in an open session too."""
    credentials = usable_now({mail.credential_id for mail in mails})
    answers: list[Answer] = [SubmissionRefused(535, "5.7.8", "The credential was revoked.")] * len(mails)
    places, submissions = [], []
    for place, mail in enumerate(mails):
        if credential := credentials.get(mail.credential_id):
            places.append(place)
            submissions.append(
                Submission(
                    credential.app, credential.stage, mail.envelope, mail.content, Door.GATEWAY, credential, client=mail.client
                )
            )
    for place, answer in zip(places, submit_together(submissions), strict=True):
        answers[place] = answer
    return answers


def _tell(group: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
    for waiting, answer in zip(group, answers, strict=True):
        if waiting.answer.done():
            continue  # the session is gone
        if isinstance(answer, Exception):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)
