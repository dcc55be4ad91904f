"""A message's own status, summed up from its recipients', and what holds a message until a cause goes away."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from django.db import transaction
from django.db.models import QuerySet

from common import sql
from common.clock import database_now
from emailconfig.models import SmtpSettings
from organization.models import Stage
from outbox import event_log
from outbox.models import WAITING, HoldReason, Message, Pause, Recipient, RouteKind, Status
from testlists.models import TestList, TestListAddress

# So many messages are changed in one transaction.
_MESSAGES_AT_ONCE = 500


def sum_up(message: Message) -> None:
    """Bring the mail's own row in line with its recipients' states, and let go of it."""
    states = list(message.recipients.values_list("status", "due"))
    message.status = _summary([status for status, _ in states], held=bool(message.hold_reason))
    message.due = min((due for status, due in states if status in WAITING), default=database_now())
    message.owner, message.lease_until = "", None
    sql.update(message, "status", "due", "owner", "lease_until", "hold_reason", "notes")


def hold(message: Message, reason: HoldReason) -> None:
    """Nothing of the mail goes out until the reason goes away. Whoever got it already stays sent."""
    message.recipients.filter(status__in=WAITING).update(status=Status.HELD)
    message.hold_reason = reason
    sum_up(message)
    transaction.on_commit(lambda: event_log.held(message.stage.key, [message.pk], reason), robust=True)


def _summary(states: Sequence[str], *, held: bool) -> Status:
    """What is still to happen comes before what happened; one failed or captured recipient makes the message so. Without any it
    was held with nobody to get it, and then cancelled."""
    if held:
        return Status.HELD
    for status in (Status.SENDING, Status.QUEUED, Status.DEFERRED, Status.HELD, Status.FAILED, Status.CAPTURED):
        if status in states:
            return status
    return Status.SENT if states else Status.FAILED


def hold_together(ids: Sequence[int], stage_key: str, reason: HoldReason) -> None:
    """As hold(), for messages that wait and whose rows are locked."""
    Recipient.objects.filter(message__in=ids, status__in=WAITING).update(status=Status.HELD)
    Message.objects.filter(pk__in=ids).update(status=Status.HELD, hold_reason=reason)
    transaction.on_commit(lambda: event_log.held(stage_key, ids, reason), robust=True)


def hold_unconfigured(stage_id: int) -> None:
    """A stage without settings has nowhere to send to."""
    stage_key = Stage.objects.values_list("key", flat=True).get(pk=stage_id)
    waiting = Message.objects.filter(stage=stage_id, status__in=WAITING)
    change_in_slices(waiting, lambda ids: hold_together(ids, stage_key, HoldReason.STAGE_NOT_CONFIGURED))


def release(held: QuerySet[Message], slices: int | None = None) -> bool:
    """Queue what is held. Its route is looked at again at hand-over, like any other's. Returns whether it was all."""
    now = database_now()

    def queue(ids: list[int]) -> None:
        Recipient.objects.filter(message__in=ids, status=Status.HELD).update(status=Status.QUEUED, due=now)
        Message.objects.filter(pk__in=ids).update(status=Status.QUEUED, hold_reason="", due=now)

    return change_in_slices(held.filter(status=Status.HELD), queue, slices)


def release_to_list(reason: HoldReason, **place: int) -> None:
    """Test mail goes on without a question when the reason is gone: hand-over lets it go to the people on the list alone."""
    release(Message.objects.filter(route=RouteKind.TEST_LIST, hold_reason=reason, **place))


def release_what_waits() -> None:
    """Let go of held test mail whose reason is gone: also of what was accepted in the very moment the reason went away."""
    for stage_id in SmtpSettings.objects.values_list("stage_id", flat=True):
        release_to_list(HoldReason.STAGE_NOT_CONFIGURED, stage=stage_id)
    release_resumed()
    for app_id, stage_id in _held_for(HoldReason.TEST_LIST_EMPTY):
        listed = TestListAddress.objects.filter(test_list__app=app_id, test_list__stage=stage_id)
        if listed.exclude(member__is_active=False).exists():
            release_to_list(HoldReason.TEST_LIST_EMPTY, app=app_id, stage=stage_id)
    for app_id, stage_id in _held_for(HoldReason.TEST_LIST_MISSING):
        if TestList.objects.filter(app=app_id, stage=stage_id).exists():
            release_to_list(HoldReason.TEST_LIST_MISSING, app=app_id, stage=stage_id)


def release_resumed() -> None:
    """Test mail of places that nobody pauses any more."""
    paused = set(Pause.objects.values_list("app_id", "stage_id"))
    for app_id, stage_id in _held_for(HoldReason.PAUSED):
        if not {(app_id, stage_id), (None, stage_id)} & paused:
            release_to_list(HoldReason.PAUSED, app=app_id, stage=stage_id)


def _held_for(reason: HoldReason) -> list[tuple[int, int]]:
    """The apps and stages with such mail."""
    held = Message.objects.filter(stage__in=Stage.objects.values("pk"), status=Status.HELD, hold_reason=reason).order_by()
    return list(held.values_list("app_id", "stage_id").distinct())


def change_in_slices(messages: QuerySet[Message], change: Callable[[list[int]], None], slices: int | None = None) -> bool:
    """Change some messages at a time, their rows locked: what comes in between two statements must not be changed by halves.

    What another has locked is left for the next sweep. Returns whether it came to the end within so many `slices`.
    """
    after = 0
    for _ in itertools.count() if slices is None else range(slices):
        with transaction.atomic():
            rows = messages.filter(pk__gt=after).order_by("pk").select_for_update(skip_locked=True, of=("self",))
            ids = list(rows.values_list("pk", flat=True)[:_MESSAGES_AT_ONCE])
            if not ids:
                return True
            change(ids)
            after = ids[-1]
    return False
