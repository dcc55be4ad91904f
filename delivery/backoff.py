"""A stage's back-off: trouble before MAIL FROM belongs to the server, not to a mail, and counts on none.

While it lasts the stage's mail waits, and one connection at a time probes. Saving the settings starts at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet

from common.clock import database_now
from delivery.models import StageQueue
from emailconfig.connection import ConnectionTrouble
from organization import audit
from organization.access import Actor, Scope, require
from organization.models import Stage
from organization.permissions import Permission
from outbox import wakeup
from outbox.masking import masked_words
from outbox.models import Message, Recipient, Status

log = structlog.get_logger(__name__)

# 5 s, doubling to 60 s. Where each try is a refused sign-in, which may lock the account out: 1 min, doubling to 30 min.
_UNREACHABLE = (timedelta(seconds=5), timedelta(seconds=60))
_REFUSED = (timedelta(minutes=1), timedelta(minutes=30))

# A server that has put off several mails for a while, and taken none, puts off everybody.
_SEVERAL = 2
_A_WHILE = timedelta(minutes=1)
_MAILS_AT_ONCE = 10_000


def pause_after(failures: int, *, needs_a_person: bool) -> timedelta:
    """How long the stage waits after so many failures in a row (1 is the first)."""
    first, longest = _REFUSED if needs_a_person else _UNREACHABLE
    doublings: int = 2 ** min(failures - 1, 20)
    return min(first * doublings, longest)


def note_trouble(stage_id: int, trouble: ConnectionTrouble) -> None:
    """Back off. Several connections that fail in the same moment count once."""
    now = database_now()
    masked = masked_words(trouble.evidence, trouble.recipients)
    with transaction.atomic():
        queue = try_locked(stage_id)
        if queue is None or _waiting(now).filter(pk=stage_id).exists():
            return
        if queue.failures == 0:
            queue.since = now
            log.warning("stage_in_trouble", stage=stage_id, step=trouble.step, code=trouble.code, evidence=masked)
        queue.failures += 1
        queue.paused = trouble.needs_a_person
        queue.retry_at = now + pause_after(queue.failures, needs_a_person=trouble.waits_longer)
        queue.step, queue.code = trouble.step, trouble.code
        queue.evidence, queue.masked_evidence = trouble.evidence[:1000], masked[:1000]
        queue.save()


def locked(stage_id: int) -> StageQueue:
    """The stage's row, locked until the caller's transaction ends."""
    StageQueue.objects.get_or_create(stage_id=stage_id)
    return StageQueue.objects.select_for_update().get(stage_id=stage_id)


def try_locked(stage_id: int) -> StageQueue | None:
    """As locked(); None where another has it locked. That may be a worker that was stopped, and nobody waits for it."""
    StageQueue.objects.get_or_create(stage_id=stage_id)
    return StageQueue.objects.select_for_update(skip_locked=True).filter(pk=stage_id).first()


def note_deferral(stage_id: int, *, first_try: bool) -> bool:
    """The server put a mail off. Returns whether it has put off several for a while, and taken none: then it is the server's
    trouble, and none of theirs."""
    now = database_now()
    queue, _ = StageQueue.objects.get_or_create(stage_id=stage_id)
    row = StageQueue.objects.filter(pk=stage_id)
    if first_try:
        row.update(deferrals=F("deferrals") + 1)
    if queue.deferring_since is None or queue.deferring_since > now:  # or the clock was set back
        row.update(deferring_since=now)
    return row.filter(deferrals__gte=_SEVERAL, deferring_since__lte=now - _A_WHILE).exists()


def try_clear(stage_id: int) -> bool:
    """As clear(), for a worker, which waits for no other. Returns False where another has the stage's row locked."""
    with transaction.atomic():
        queue = try_locked(stage_id)
        if queue is not None:
            clear(stage_id)
    return queue is not None


def clear(stage_id: int) -> None:
    """The server takes mail again, or the settings were changed: the mail goes at once. Writes only after trouble."""
    put_off = StageQueue.objects.filter(pk=stage_id, deferrals__gte=_SEVERAL).exists()
    StageQueue.objects.filter(Q(failures__gt=0) | Q(deferrals__gt=0) | ~Q(deferring_since=None), stage_id=stage_id).update(
        failures=0,
        deferrals=0,
        deferring_since=None,
        paused=False,
        retry_at=None,
        since=None,
        step="",
        code="",
        evidence="",
        masked_evidence="",
    )
    if put_off:
        _try_deferred_now(stage_id)


def _try_deferred_now(stage_id: int) -> None:
    """What was put off before the server's trouble was known goes as soon as it is over, and not after an hour."""
    now = database_now()
    deferred = Message.objects.filter(stage=stage_id, status=Status.DEFERRED, due__gt=now).order_by("due")
    with transaction.atomic():
        messages = list(deferred.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:_MAILS_AT_ONCE])
        Recipient.objects.filter(message__in=messages, status=Status.DEFERRED).update(due=now)
        Message.objects.filter(pk__in=messages).update(due=now)


def waits(stage_id: int, now: datetime) -> bool:
    """Whether the stage backs off at `now`."""
    return _waiting(now).filter(stage_id=stage_id).exists()


def in_trouble(stage_id: int) -> bool:
    return StageQueue.objects.filter(stage_id=stage_id, failures__gt=0).exists()


def trouble_of(stage_key: str) -> StageQueue | None:
    """What a person should see about the stage's server; None when all is well."""
    return StageQueue.objects.filter(stage__key=stage_key, failures__gt=0).select_related("stage").first()


def all_in_trouble() -> list[StageQueue]:
    return list(StageQueue.objects.filter(failures__gt=0))


def resume(stage: Stage, actor: Actor) -> None:
    """A person says that the server can be tried again. Raises PermissionDenied."""
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        clear(stage.pk)
        audit.record(actor, audit.Operation.RESUME_DELIVERIES, stage)
        wakeup.after_commit()


def _waiting(now: datetime) -> QuerySet[StageQueue]:
    """A pause beyond the longest comes from a clock that jumped, and is over."""
    return StageQueue.objects.filter(retry_at__gt=now, retry_at__lte=now + _REFUSED[1])
