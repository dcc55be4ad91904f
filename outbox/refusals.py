"""Messages that were refused: the newest of each credential, for people who look for an email that isn't in the log.

An app can submit a message without a credential, through Django or a command. Those refusals count as one credential's.

Refusals may come in floods, and no caller should wait for them. So a separate thread writes them, seldom, and few are kept.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connection, transaction

from common.addresses import masked_address, printable
from organization.access import Scope, allowed
from organization.models import App, Credential, Member, Stage
from organization.permissions import Permission
from outbox.access.masking import masked_words
from outbox.models import Refusal, Source
from outbox.values import Submission

log = structlog.get_logger(__name__)

# An app, a stage, and the credential if there was one.
Owner = tuple[int, int, int | None]

KEPT_OF_EACH = 20
WRITE_EVERY_SECONDS = 1.0


def refusal(credential: Credential, via: Source, step: str, address: str, reply: str) -> Refusal:
    """A refusal that is not stored yet: at which step of the dialogue, for which address, with which answer."""
    return _refusal((credential.app_id, credential.stage_id, credential.pk), via, step, address, reply)


def refusal_of_submission(submission: Submission, reply: str) -> Refusal:
    """As refusal(), but for a message that was submitted as a whole, with or without a credential."""
    credential_id = submission.credential.pk if submission.credential else None
    address = next(iter(submission.envelope.recipients), "")
    return _refusal((submission.app.pk, submission.stage.pk, credential_id), submission.via, "submit", address, reply)


def _refusal(owner: Owner, via: Source, step: str, address: str, reply: str) -> Refusal:
    app_id, stage_id, credential_id = owner
    return Refusal(
        app_id=app_id,
        stage_id=stage_id,
        credential_id=credential_id,
        via=via.value,
        step=step,
        address=printable(address),
        reply=reply[:500],
    )


def record(refusals: Sequence[Refusal]) -> None:
    """Store the refusals, and delete all but the newest of each credential."""
    with transaction.atomic():
        Refusal.objects.bulk_create(refusals)
        for app_id, stage_id, credential_id in {
            (refusal.app_id, refusal.stage_id, refusal.credential_id) for refusal in refusals
        }:
            of_credential = Refusal.objects.filter(app=app_id, stage=stage_id, credential=credential_id).order_by("-pk")
            if outdated := of_credential.values_list("pk", flat=True)[KEPT_OF_EACH : KEPT_OF_EACH + 1]:
                of_credential.filter(pk__lte=outdated[0]).delete()


def try_to_record(refusals: Sequence[Refusal]) -> None:
    """As record(), but without an error when the database can't store them. The app has got its answer anyway."""
    try:
        record(refusals)
    except (DatabaseError, InterfaceError) as error:
        log.error("refusals_not_recorded", count=len(refusals), error=str(error))


class RefusalRecorder:
    """Records refusals on a thread of its own, at most once a second.

    In between they wait in memory, and no more of each credential than are kept anyway.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, deque[Refusal]] = {}
        self._lock, self._work, self._closing = threading.Lock(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, refusal: Refusal) -> None:
        """Keep the refusal for the next write. Any thread may call it, and it never waits for the database."""
        assert refusal.credential_id is not None
        with self._lock:
            self._waiting.setdefault(refusal.credential_id, deque(maxlen=KEPT_OF_EACH)).append(refusal)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="refusals", daemon=True)
                self._thread.start()
        self._work.set()

    def close(self, seconds: float) -> None:
        """Write what waits, for at most `seconds`."""
        self._closing.set()
        self._work.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while self._work.wait():
            self._work.clear()
            self._write()
            if self._closing.wait(WRITE_EVERY_SECONDS):
                self._write()
                connection.close()
                return

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        if refusals := [refusal for of_credential in waiting.values() for refusal in of_credential]:
            close_old_connections()
            try_to_record(refusals)


class ShownRefusal(NamedTuple):
    """A refusal as one member may see it. `credential`: its username; without one the entry point's name."""

    at: datetime
    credential: str
    step: str
    address: str
    reply: str


def newest_refusals(member: Member, app: App, stage: Stage) -> list[ShownRefusal] | None:
    """The newest refusals of the app in the stage. None for members who may not read the app's log there."""
    place = Scope(app, stage)
    if not allowed(member, place, Permission.ACCESS_ASSET_LOGS):
        return None
    open_to_member = allowed(member, place, Permission.ACCESS_USER_INFORMATION)
    newest = Refusal.objects.filter(app=app, stage=stage).select_related("credential").order_by("-pk")[:KEPT_OF_EACH]
    return [
        ShownRefusal(
            refusal.at,
            refusal.credential.username if refusal.credential else refusal.get_via_display(),
            refusal.step,
            refusal.address if open_to_member else masked_address(refusal.address),
            refusal.reply if open_to_member else masked_words(refusal.reply, [refusal.address]),
        )
        for refusal in newest
    ]
