"""Carry out the actions on many emails, some at a time, oldest first: a job of the worker.

An action stores how far it is, in the same transaction as the emails. So a worker that is killed leaves
nothing half done, and the next one goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from common.clock import boottime, database_now
from common.jobs import Job
from emaillog.bounded_scan import IdRange, scan
from emaillog.bulk.selection import selected
from emaillog.models import BulkAction
from organization.access import Actor, Operator
from organization.models import Stage
from outbox.bulk.checks import QUEUEING, Act, Checks, Options
from outbox.bulk.slices import carry_out, within_bytes
from outbox.models import WAITING, Message

# How many emails one transaction changes. A resend stores a new email for each.
_AT_ONCE = {Act.RESEND: 100}
_AT_ONCE_ELSE = 500
# An action puts no more emails into a stage's queue while so many wait there, or a minute's worth of a limited stage.
QUEUED_AT_MOST = 500
# Half of the time between two runs, so that pages and mail have the processor for the other half.
_SECONDS_A_RUN = 1.0


class _Slice(NamedTuple):
    """The next matching emails, up to which number all others were looked at, and whether these are the last."""

    numbers: list[int]
    position: int
    is_last: bool


def carry_out_all() -> None:
    """Go on with every action that runs. It returns after a short time, so that the next run sees what was stopped."""
    deadline = boottime() + _SECONDS_A_RUN
    for action in BulkAction.objects.filter(state=BulkAction.State.RUNNING).select_related("member").order_by("pk"):
        while boottime() < deadline and _go_on(action):
            action.refresh_from_db(fields=["position"])


def is_any_running() -> bool:
    return BulkAction.objects.filter(state=BulkAction.State.RUNNING).exists()


BULK_ACTIONS = Job("bulk-actions", carry_out_all, every=2.0, beside=True, needed=is_any_running)


def _go_on(action: BulkAction) -> bool:
    """Carry out the next slice. Returns whether to go on: not if it is done, was stopped, or has to wait for the queue."""
    actor: Actor = action.member or Operator(action.by)
    try:
        following = _next_slice(action, actor)
    except (PermissionDenied, ValidationError) as refused:  # a right was taken away, or a stage that the query names
        _end(action, BulkAction.State.STOPPED, str(refused))
        return False
    if following is None:
        return False
    with transaction.atomic():
        locked = BulkAction.objects.select_for_update(of=("self",), skip_locked=True).filter(
            pk=action.pk, state=BulkAction.State.RUNNING, position=action.position
        )
        if not locked:  # another worker is at it, or a person stopped it
            return False
        _change(action, actor, following)
    return not following.is_last


def _change(action: BulkAction, actor: Actor, following: _Slice) -> None:
    options = Options(action.everybody, action.codes_before, action.words)
    checks = Checks(Act(action.act), actor, options, database_now())
    done, left_out = carry_out(checks, following.numbers, actor.name) if following.numbers else (0, Counter())
    stored = BulkAction.objects.get(pk=action.pk)
    stored.position, stored.done = following.position, stored.done + done
    stored.left_out = dict(Counter(stored.left_out) + left_out)
    stored.save(update_fields=["position", "done", "left_out"])
    if following.is_last:
        _end(action, BulkAction.State.FINISHED, "")


def _next_slice(action: BulkAction, actor: Actor) -> _Slice | None:
    """The next emails that there is room for in their stages' queues. None while there is no room for the first."""
    size = _AT_ONCE.get(Act(action.act), _AT_ONCE_ELSE)
    with selected(action.query, actor, action.started, action.zone) as log_filter:
        id_range = IdRange(action.position, action.up_to + 1).within(log_filter.id_range)
        rows = log_filter.rows.select_related(None).only("stage")
        result = scan(log_filter.access.sources(), rows, id_range, size, upward=True)
    messages, is_last = result.messages, len(result.messages) < size and result.stop is None
    end = result.stop.number if result.stop else (messages[-1].pk if messages else action.up_to)
    if action.act not in QUEUEING or not messages:
        return _Slice([message.pk for message in messages], end, is_last)
    numbers = _with_room(messages)
    if action.act == Act.RESEND:
        numbers = within_bytes(Message.objects.all(), numbers)
    if not numbers:
        return None
    if len(numbers) < len(messages):
        return _Slice(numbers, numbers[-1], is_last=False)
    return _Slice(numbers, end, is_last)


def _with_room(messages: Sequence[Message]) -> list[int]:
    """The numbers of the first of them, up to the first whose stage's queue is full."""
    room: dict[int, int] = {}
    numbers = []
    for message in messages:
        if message.stage_id not in room:
            room[message.stage_id] = _room(message.stage_id)
        if room[message.stage_id] <= 0:
            break
        room[message.stage_id] -= 1
        numbers.append(message.pk)
    return numbers


def _room(stage_id: int) -> int:
    """How many more emails the stage's queue takes: as many as it sends in a minute, if that is limited."""
    per_minute = Stage.objects.filter(pk=stage_id).values_list("smtp_settings__mails_per_minute", flat=True).first()
    limit = min(per_minute or QUEUED_AT_MOST, QUEUED_AT_MOST)
    due = Message.objects.filter(stage=stage_id, status__in=WAITING, due__lte=database_now()).order_by()
    return limit - due[:limit].count()


def _end(action: BulkAction, state: BulkAction.State, why: str) -> None:
    running = BulkAction.objects.filter(pk=action.pk, state=BulkAction.State.RUNNING)
    running.update(state=state, ended=database_now(), ended_by=why[:360])
