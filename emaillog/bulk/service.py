"""Start an action on many emails, say beforehand what it would do, and stop it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from common.clock import database_now
from emaillog.bounded_scan import IdRange, scan, walk
from emaillog.bulk.selection import selected
from emaillog.models import BulkAction
from emaillog.pages import newest_number
from organization import audit
from organization.access import EVERYWHERE, Actor, Scope, allowed
from organization.models import Member, Stage
from organization.permissions import Permission
from organization.stage_name import check_stage_name
from outbox import wakeup
from outbox.bulk.checks import ENDING, Act, Checks, Options
from outbox.bulk.preview import Preview, Previewer

# A preview looks at so many emails, and says if there are more.
PREVIEWED_AT_MOST = 10_000
CODES_MINUTES = 15
_ROWS_AT_ONCE = 500
_SCANS_AT_MOST = 40
_OPERATIONS = {
    Act.RETRY: audit.Operation.RETRY,
    Act.CANCEL: audit.Operation.CANCEL,
    Act.RESEND: audit.Operation.RESEND,
    Act.RELEASE: audit.Operation.DELIVER_HELD,
    Act.DISCARD: audit.Operation.DISCARD_HELD,
}


@dataclass(frozen=True)
class Request:
    """What a person asks for. `codes_minutes`: one-time codes older than this aren't resent; None resends them too.

    `up_to`: no email above this number; None for the newest there is now.
    """

    act: Act
    query: str
    everybody: bool = False
    codes_minutes: int | None = CODES_MINUTES
    reason: str = ""
    up_to: int | None = None


@dataclass(frozen=True)
class Plan:
    """What an action would do. `more`: more emails match than the preview looked at. `stages`: those that it may change."""

    preview: Preview
    more: bool
    stages: tuple[Stage, ...]
    up_to: int

    @property
    def changes_nothing(self) -> bool:
        return not self.preview.changed and not self.more

    @property
    def production(self) -> list[Stage]:
        return [stage for stage in self.stages if stage.is_production]


def plan(request: Request, actor: Actor) -> Plan:
    """What the action would do now. Raises PermissionDenied, and ValidationError for a query that makes no sense."""
    now, newest = database_now(), newest_number()
    up_to = newest if request.up_to is None else min(request.up_to, newest)
    previewer = Previewer(Checks(request.act, actor, options_of(request, actor), now))
    preview = previewer.preview
    with selected(request.query, actor, now, _zone()) as log_filter:
        access, id_range = log_filter.access, IdRange(below=up_to + 1).within(log_filter.id_range)
        rows = log_filter.rows.select_related("app", "stage").prefetch_related("recipients")
        for messages in walk(access.sources(), rows, id_range, _ROWS_AT_ONCE, _SCANS_AT_MOST):
            previewer.add(messages)
            if messages:
                id_range = IdRange(below=messages[-1].pk).within(id_range)
            if preview.matching >= PREVIEWED_AT_MOST:
                break
        rest = scan(access.sources(), log_filter.rows, id_range, 1)
    more = bool(rest.messages or rest.stop)
    stages = tuple(access.stages) if more else tuple(sorted(preview.stages, key=lambda stage: stage.order))
    return Plan(preview, more, stages, up_to)


def start(request: Request, actor: Actor, *, typed_stage_name: str = "") -> BulkAction:
    """Begin the action, which the worker carries out. In Production, Cancel and Discard take the stage's name.

    Raises PermissionDenied, and ValidationError if nothing can be done (with the field `stage_name`).
    """
    planned = plan(request, actor)
    if planned.changes_nothing:
        raise ValidationError("There is no email that this would change. Nothing was done.")
    if request.act in ENDING:
        _check_production(planned.production, typed_stage_name)
    options = options_of(request, actor)
    with transaction.atomic():
        action = BulkAction.objects.create(
            act=request.act,
            member=actor if isinstance(actor, Member) else None,
            by=str(actor)[:360],
            query=request.query,
            zone=_zone(),
            started=database_now(),
            up_to=planned.up_to,
            everybody=options.everybody,
            codes_before=options.codes_before,
            words=options.words,
            matching=planned.preview.matching,
            more=planned.more,
        )
        after = {"filter": request.query, "emails": planned.preview.matching, "more": planned.more, "reason": request.reason}
        place = Scope(stage=planned.stages[0]) if len(planned.stages) == 1 else EVERYWHERE
        audit.record(actor, _OPERATIONS[request.act], action, scope=place, after=after)
        wakeup.notify_on_commit()
    return action


def stop(action: BulkAction, actor: Actor) -> bool:
    """What the worker hasn't reached stays as it is. Returns whether there was anything to stop. Raises PermissionDenied."""
    if not may_see(action, actor):
        raise PermissionDenied("Only the person who started it, or an administrator, may stop it.")
    running = BulkAction.objects.filter(pk=action.pk, state=BulkAction.State.RUNNING)
    with transaction.atomic():
        stopped = running.update(state=BulkAction.State.STOPPED, ended=database_now(), ended_by=str(actor)[:360])
        if stopped:
            audit.record(actor, audit.Operation.UPDATE, action, scope=EVERYWHERE, after={"state": BulkAction.State.STOPPED.value})
    return bool(stopped)


def may_see(action: BulkAction, actor: Actor) -> bool:
    """Its own member, and who may resend everywhere: the query may name addresses."""
    if isinstance(actor, Member) and action.member_id == actor.pk:
        return True
    return allowed(actor, EVERYWHERE, Permission.RESEND_MAIL)


def options_of(request: Request, actor: Actor) -> Options:
    minutes = request.codes_minutes
    before = None if minutes is None else database_now() - timedelta(minutes=minutes)
    verb = {Act.CANCEL: "Cancelled", Act.DISCARD: "Discarded"}.get(request.act)
    words = f"{verb} by {actor.name}{f': {request.reason}' if request.reason else '.'}" if verb else ""
    return Options(request.everybody, before if request.act == Act.RESEND else None, words)


def _check_production(stages: Collection[Stage], typed: str) -> None:
    if len(stages) > 1:
        names = ", ".join(stage.name for stage in stages)
        raise ValidationError(f"These emails may belong to several Production stages ({names}). Filter by one stage first.")
    for stage in stages:
        check_stage_name(stage, typed, field="stage_name")


def _zone() -> str:
    return timezone.get_current_timezone_name()
