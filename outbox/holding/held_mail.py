"""Held email asks before it goes: what waits for an answer, and what becomes of it.

The question comes once the cause is gone: the stage has settings, and nothing is paused. Until a person answers, the email stays
held. An answer is a row: its first messages follow at once, and the worker carries out the others, so that nobody waits for
thousands. Test mail never asks, because it goes to the people on the list alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from common import sql
from common.addresses import same_address_key
from common.clock import database_now
from emailconfig.models import SmtpSettings
from organization import audit
from organization.access import Actor, Scope, allowed, require
from organization.models import Stage
from organization.permissions import Permission
from organization.recipient_policy.reading import policies_of
from organization.stage_name import check_stage_name
from outbox import statements, wakeup
from outbox.counts.backlog import COUNTED_AT_MOST, Depth, HeldCounts, count_held
from outbox.models import ASKING_REASONS, HeldAnswer, HoldReason, Message, Pause, RouteKind, Status
from outbox.states import change_in_slices, end_together, release
from testlists.models import TestListAddress
from testlists.services import MAY_EDIT

Choice = HeldAnswer.Choice
# Of a stage and an app, by their numbers.
IsOpen = Callable[[int, int], bool]
# So many slices of an answer follow at once, and so many more with each sweep.
_SLICES_AT_ONCE = 2
_SLICES_A_SWEEP = 20
# What was accepted while a short pause ended may commit a moment later. It goes, too.
_LATE = timedelta(minutes=1)
OPERATIONS = {
    Choice.DELIVER: audit.Operation.DELIVER_HELD,
    Choice.KEEP: audit.Operation.KEEP_HELD,
    Choice.DISCARD: audit.Operation.DISCARD_HELD,
}


@dataclass(frozen=True)
class HeldMail:
    """The question about a place's held email: how much, since when, and for how many addresses outside list and allowed ones.

    `kept`: a person has looked at all of it, and kept it.
    """

    depth: Depth = field(default_factory=Depth)
    outside: frozenset[str] = frozenset()
    more_outside: bool = False
    kept: bool = True

    def __add__(self, other: HeldMail) -> HeldMail:
        return HeldMail(
            self.depth + other.depth,
            self.outside | other.outside,
            self.more_outside or other.more_outside,
            self.kept and other.kept,
        )

    def __bool__(self) -> bool:
        return self.depth.messages > 0

    @property
    def emails(self) -> str:
        return self.depth.emails

    @property
    def was(self) -> str:
        return "was" if self.emails.endswith("email") else "were"

    @property
    def addresses_outside(self) -> str:
        count = len(self.outside)
        return f"{count:,}{'+' if self.more_outside else ''} {'address' if count == 1 else 'addresses'}"

    def __str__(self) -> str:
        since = f"{timezone.localtime(self.depth.oldest):%Y-%m-%d %H:%M}" if self.depth.oldest else "now"
        verb = "is" if self.was == "was" else "are"
        outside = f"{self.addresses_outside} outside the test lists and allowed addresses"
        return f"{self.emails} {verb} held, the oldest since {since}, for {outside}"


def permissions_for(place: Scope) -> tuple[Permission, ...]:
    """Who may pause a stage, or an app in it, and answer for what is held there: with one of these."""
    return MAY_EDIT if place.app else (Permission.MANAGE_EMAIL_CONFIGURATIONS,)


def may_answer(actor: Actor, place: Scope) -> bool:
    return allowed(actor, place, *permissions_for(place))


def held_mail(place: Scope) -> HeldMail:
    """The question about one stage, or one app in it. Empty while it doesn't ask."""
    stage = _stage_of(place)
    by_app = held_by_app([stage])[stage.pk]
    if place.app:
        return by_app.get(place.app.pk, HeldMail())
    return sum(by_app.values(), HeldMail())


def held_by_app(
    stages: Collection[Stage], held: HeldCounts | None = None, is_open: IsOpen | None = None
) -> defaultdict[int, dict[int, HeldMail]]:
    """By stage, the question about each app.

    `held`: the held messages of these stages, if they are known. `is_open`: what open_places() returned, likewise.
    """
    questions: defaultdict[int, dict[int, HeldMail]] = defaultdict(dict)
    stage_ids = [stage.pk for stage in stages]
    held = held or count_held(stages)
    if not held.rows:
        return questions
    is_open = is_open or _read_open_places(stage_ids)
    for row in held.rows:
        if row.hold_reason in ASKING_REASONS and not row.is_test_mail and is_open(row.stage_id, row.app_id):
            depth = held.depth(row)
            question = HeldMail(depth, more_outside=depth.more, kept=row.hold_reason == HoldReason.KEPT)
            questions[row.stage_id][row.app_id] = questions[row.stage_id].get(row.app_id, HeldMail()) + question
    return _with_addresses(questions, stage_ids) if questions else questions


def held_in_words(place: Scope) -> str:
    """For commands and Django admin, which keep what is held."""
    question = held_mail(place)
    return in_words(question) if question else ""


def in_words(question: HeldMail) -> str:
    return f"{question}. Nothing is sent until a person chooses Deliver, Keep or Discard."


def answer(place: Scope, choice: HeldAnswer.Choice, actor: Actor, *, reason: str = "", typed_stage_name: str = "") -> HeldMail:
    """Deliver, keep or discard what asks in the place now. Returns what that is.

    What is delivered is routed again, by what is in force when it leaves. What is discarded ends as failed with the person's
    words. Raises PermissionDenied, and ValidationError (with the fields `reason` and `stage_name`).
    """
    require(actor, place, *permissions_for(place))
    stage = _stage_of(place)
    with transaction.atomic():
        Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)
        question = held_mail(place)
        if choice == Choice.DISCARD and stage.is_production:
            check_stage_name(stage, typed_stage_name, field="stage_name")
        if not question:
            raise ValidationError(f"No decision about held emails in {stage} is possible now.")
        words = discard_words(actor, reason) if choice == Choice.DISCARD else ""
        carry_out_after_commit(place, choice, _reasons_in(place), words)
        audit.record(actor, OPERATIONS[choice], place.app or stage, scope=place, after={"held": str(question), "reason": reason})
    return question


def discard_words(actor: Actor, reason: str) -> str:
    """What each discarded email says."""
    return f"Discarded by {actor.name}{f': {reason}' if reason else '.'}"


def deliver_after_short_pause(place: Scope) -> None:
    """What a short pause held goes without a question. For the transaction in which it ends."""
    carry_out_after_commit(place, Choice.DELIVER, [HoldReason.PAUSED], "", late=_LATE)


def drop_answers(place: Scope) -> None:
    """What isn't carried out of earlier answers asks again."""
    in_place(HeldAnswer.objects.all(), place).delete()


def carry_out_answers() -> None:
    """For the worker's sweep."""
    for pending in HeldAnswer.objects.all():
        _carry_out(pending, _SLICES_A_SWEEP)


def is_being_carried_out(place: Scope) -> bool:
    """Whether a person has answered, and the worker is still at it."""
    answers = HeldAnswer.objects.filter(Q(app=None) | Q(app=place.app), stage=place.stage)
    return any(_held_for(pending).exists() for pending in answers)


def in_place(rows: QuerySet, place: Scope) -> QuerySet:  # type: ignore[type-arg]
    """Those rows of the stage, or of the app in it."""
    rows = rows.filter(stage=place.stage)
    return rows.filter(app=place.app) if place.app else rows


def _stage_of(place: Scope) -> Stage:
    assert place.stage is not None
    return place.stage


def open_places(configured: Collection[int], paused: Collection[tuple[int, int | None]]) -> IsOpen:
    """Tells whether email of an app in a stage could leave: the stage has settings, and nothing is paused."""
    return lambda stage, app: stage in configured and (stage, app) not in paused and (stage, None) not in paused


def _read_open_places(stages: Collection[int]) -> IsOpen:
    configured = set(SmtpSettings.objects.filter(stage__in=stages).values_list("stage_id", flat=True))
    return open_places(configured, set(Pause.objects.filter(stage__in=stages).values_list("stage_id", "app_id")))


def _with_addresses(
    questions: defaultdict[int, dict[int, HeldMail]], stages: Sequence[int]
) -> defaultdict[int, dict[int, HeldMail]]:
    limit = COUNTED_AT_MOST * len(stages)
    rows = sql.fetch(statements.held_addresses(COUNTED_AT_MOST + 1), stages, [Status.HELD.value], limit + 1)
    policies, listed = policies_of(questions), _listed_addresses(questions)  # the rows are of all stages, asking or not
    outside: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    for row in rows:
        policy, key = policies.get(row.stage_id), same_address_key(row.address)
        if policy and key not in listed[row.stage_id, row.app_id] and not policy.allows(row.address):
            outside[row.stage_id, row.app_id].add(key)
    for stage, by_app in questions.items():
        for app, question in by_app.items():
            more = question.more_outside or len(rows) > limit
            by_app[app] = HeldMail(question.depth, frozenset(outside[stage, app]), more, question.kept)
    return questions


def _listed_addresses(questions: Mapping[int, Mapping[int, HeldMail]]) -> defaultdict[tuple[int, int], set[str]]:
    """The people on the lists of the apps that ask: an organization may have thousands of other lists."""
    listed: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    apps = {app for by_app in questions.values() for app in by_app}
    entries = TestListAddress.objects.filter(test_list__stage__in=list(questions), test_list__app__in=apps)
    for entry in entries.select_related("member", "test_list"):
        listed[entry.test_list.stage_id, entry.test_list.app_id].add(same_address_key(entry.person.email))
    return listed


def _reasons_in(place: Scope) -> list[HoldReason]:
    """Those that ask now. Email that is held for another reason later isn't answered for."""
    held = in_place(Message.objects.filter(status=Status.HELD).exclude(route=RouteKind.TEST_LIST), place)
    return [reason for reason in ASKING_REASONS if held.filter(hold_reason=reason).exists()]


def carry_out_after_commit(
    place: Scope, choice: HeldAnswer.Choice, reasons: list[HoldReason], words: str, late: timedelta = timedelta(0)
) -> None:
    """In place of an earlier answer."""
    drop_answers(place)
    values = {"choice": choice, "reasons": [reason.value for reason in reasons], "words": words}
    pending = HeldAnswer.objects.create(stage=_stage_of(place), app=place.app, until=database_now() + late, **values)
    transaction.on_commit(lambda: _carry_out(pending, _SLICES_AT_ONCE), robust=True)  # the worker does it if we can't
    wakeup.notify_on_commit()


def _carry_out(pending: HeldAnswer, slices: int) -> None:
    if not HeldAnswer.objects.filter(pk=pending.pk).exists():  # another answered meanwhile
        return
    held, words = _held_for(pending), pending.words
    if pending.choice == Choice.DELIVER:
        is_done = release(held, slices)
    elif pending.choice == Choice.KEEP:
        is_done = change_in_slices(held.exclude(hold_reason=HoldReason.KEPT), _keep, slices)
    else:
        is_done = change_in_slices(held, lambda ids: end_together(ids, words), slices)
    if is_done and pending.until < database_now():
        pending.delete()


def _held_for(pending: HeldAnswer) -> QuerySet[Message]:
    """What an answer is about. Test mail asks in a copy alone. An app that is paused meanwhile stays as it is."""
    held = Message.objects.filter(stage=pending.stage_id, status=Status.HELD, hold_reason__in=pending.reasons)
    held = held.exclude(~Q(hold_reason=HoldReason.COPY), route=RouteKind.TEST_LIST).filter(created__lte=pending.until)
    if pending.app_id:
        return held.filter(app=pending.app_id)
    return held.exclude(app__in=Pause.objects.filter(stage=pending.stage_id).exclude(app=None).values("app"))


def _keep(ids: list[int]) -> None:
    Message.objects.filter(pk__in=ids).update(hold_reason=HoldReason.KEPT)
