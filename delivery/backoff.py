"""Back off from a stage's server after a failure before MAIL FROM.

Such a failure belongs to the server, so it counts as a try of no message. During the back-off the stage's messages wait, and
one connection at a time probes the server. Saving the settings ends the back-off at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet

from common.clock import database_now
from delivery.models import StageBackoff
from delivery.retry_schedule import too_late_before
from emailconfig.connection import ConnectionFailure
from organization import audit
from organization.access import Actor, Scope, require
from organization.models import Stage
from organization.permissions import Permission
from outbox import wakeup
from outbox.access.masking import masked_words
from outbox.models import Message, Recipient, Status

log = structlog.get_logger(__name__)

# 5 s, doubling to 60 s. A refused sign-in may lock the account out, so its pauses are longer: 1 min, doubling to 30 min.
_UNREACHABLE = (timedelta(seconds=5), timedelta(seconds=60))
_REFUSED = (timedelta(minutes=1), timedelta(minutes=30))

# A server that has deferred several messages for a while, and accepted none, defers every message.
_SEVERAL = 2
_A_WHILE = timedelta(minutes=1)
_MESSAGES_AT_ONCE = 10_000


def pause_after(failures: int, *, needs_a_person: bool) -> timedelta:
    """How long the stage waits after this number of failures in a row (1 is the first)."""
    first, longest = _REFUSED if needs_a_person else _UNREACHABLE
    doublings: int = 2 ** min(failures - 1, 20)
    return min(first * doublings, longest)


def record_failure(stage_id: int, failure: ConnectionFailure) -> None:
    """Back off. Several connections that fail in the same moment count once."""
    now = database_now()
    masked = masked_words(failure.evidence, failure.recipients)
    with transaction.atomic():
        stage_backoff = try_locked(stage_id)
        if stage_backoff is None or _backing_off(now).filter(pk=stage_id).exists():
            return
        if stage_backoff.failures == 0:
            stage_backoff.since = now
            log.warning("stage_in_trouble", stage=stage_id, step=failure.step, code=failure.code, evidence=masked)
        stage_backoff.failures += 1
        stage_backoff.paused = failure.needs_a_person
        stage_backoff.retry_at = now + pause_after(stage_backoff.failures, needs_a_person=failure.waits_longer)
        stage_backoff.step, stage_backoff.code = failure.step, failure.code
        stage_backoff.evidence, stage_backoff.masked_evidence = failure.evidence[:1000], masked[:1000]
        stage_backoff.save()


def locked(stage_id: int) -> StageBackoff:
    """The stage's row, locked until the caller's transaction ends."""
    StageBackoff.objects.get_or_create(stage_id=stage_id)
    return StageBackoff.objects.select_for_update().get(stage_id=stage_id)


def try_locked(stage_id: int) -> StageBackoff | None:
    """As locked(), but None when another worker holds the lock.

    That worker may have been stopped, so the caller must not wait for it.
    """
    StageBackoff.objects.get_or_create(stage_id=stage_id)
    return StageBackoff.objects.select_for_update(skip_locked=True).filter(pk=stage_id).first()


def record_deferral(stage_id: int, *, first_try: bool) -> bool:
    """Record that the server deferred a message.

    Returns whether it has deferred several for a while, and accepted none. Then the failure is the server's, and it counts as
    a try of none of them.
    """
    now = database_now()
    stage_backoff, _ = StageBackoff.objects.get_or_create(stage_id=stage_id)
    row = StageBackoff.objects.filter(pk=stage_id)
    if first_try:
        row.update(deferrals=F("deferrals") + 1)
    if stage_backoff.deferring_since is None or stage_backoff.deferring_since > now:  # or the clock was set back
        row.update(deferring_since=now)
    return row.filter(deferrals__gte=_SEVERAL, deferring_since__lte=now - _A_WHILE).exists()


def try_reset(stage_id: int) -> bool:
    """As reset(), but for a worker, which never waits for another one.

    Returns False when another worker has locked the stage's row.
    """
    with transaction.atomic():
        stage_backoff = try_locked(stage_id)
        if stage_backoff is not None:
            reset(stage_id)
    return stage_backoff is not None


def reset(stage_id: int) -> None:
    """End the back-off, because the server accepts messages again or the settings were changed.

    The stage's messages are due at once. Writes only after a failure or a deferral.
    """
    stage_backoff = StageBackoff.objects.filter(pk=stage_id).first()
    if stage_backoff is None:
        return
    put_off = stage_backoff.deferrals >= _SEVERAL
    too_late = too_late_before(stage_backoff.since, database_now()) or stage_backoff.too_late_before
    StageBackoff.objects.filter(Q(failures__gt=0) | Q(deferrals__gt=0) | ~Q(deferring_since=None), stage_id=stage_id).update(
        failures=0,
        deferrals=0,
        deferring_since=None,
        paused=False,
        retry_at=None,
        since=None,
        too_late_before=too_late,
        step="",
        code="",
        evidence="",
        masked_evidence="",
    )
    if put_off:
        _try_deferred_now(stage_id)


def _try_deferred_now(stage_id: int) -> None:
    """Make the stage's deferred messages due now.

    They were deferred before the server's failure was known, so they need not wait an hour after it is over.
    """
    now = database_now()
    deferred = Message.objects.filter(stage=stage_id, status=Status.DEFERRED, due__gt=now).order_by("due")
    with transaction.atomic():
        messages = list(
            deferred.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:_MESSAGES_AT_ONCE]
        )
        Recipient.objects.filter(message__in=messages, status=Status.DEFERRED).update(due=now)
        Message.objects.filter(pk__in=messages).update(due=now)


def is_backing_off(stage_id: int, now: datetime) -> bool:
    """Whether the stage backs off at `now`."""
    return _backing_off(now).filter(stage_id=stage_id).exists()


def is_failing(stage_id: int) -> bool:
    return StageBackoff.objects.filter(stage_id=stage_id, failures__gt=0).exists()


def failure_of(stage_key: str) -> StageBackoff | None:
    """The failure to show on the stage's pages; None when there is none."""
    return StageBackoff.objects.filter(stage__key=stage_key, failures__gt=0).select_related("stage").first()


def failing_stages() -> list[StageBackoff]:
    return list(StageBackoff.objects.filter(failures__gt=0))


def resume(stage: Stage, actor: Actor) -> None:
    """End the back-off because a person asks for it. Raises PermissionDenied."""
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        reset(stage.pk)
        audit.record(actor, audit.Operation.RESUME_DELIVERIES, stage)
        wakeup.notify_on_commit()


def _backing_off(now: datetime) -> QuerySet[StageBackoff]:
    """The stages that back off at `now`.

    A pause beyond the longest one comes from a clock that jumped, so it counts as over.
    """
    return StageBackoff.objects.filter(retry_at__gt=now, retry_at__lte=now + _REFUSED[1])
