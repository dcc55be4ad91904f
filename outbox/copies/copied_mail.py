"""The emails that came with a copied database before they were sent.

While the copy asks, a page shows how many they are, because the original may have sent them after the backup. In a copy that
replaced its original they stay held, until a person delivers or discards each.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, QuerySet

from organization import audit
from organization.access import EVERYWHERE, Actor, Scope, allowed, require
from organization.models import Installation, Stage
from organization.permissions import Permission
from organization.stage_name import check_stage_name
from outbox import wakeup
from outbox.holding.held_mail import OPERATIONS, Choice, carry_out_after_commit, discard_words
from outbox.models import HeldAnswer, HoldReason, Message, Recipient, Rule, Status
from outbox.states import end_together, release

# On the wire when the backup was made: a lease that no living worker renews.
UNSENT = (Status.QUEUED, Status.DEFERRED, Status.SENDING)
# The people whom no app named, or whom the stage allows.
_NOT_REAL = (Rule.TEST_LIST, Rule.ALLOWED, Rule.CAPTURED, Rule.FORWARDED)
# Each is needed, everywhere: the answer is about all stages.
MAY_ANSWER = (Permission.MANAGE_STAGES, Permission.MANAGE_EMAIL_CONFIGURATIONS)


@dataclass(frozen=True)
class StageMail:
    """What a stage's unsent emails are, by how far they were, and for how many real recipients."""

    stage: Stage
    queued: int
    on_the_wire: int
    real_recipients: int

    @property
    def emails(self) -> int:
        return self.queued + self.on_the_wire


def may_answer(actor: Actor) -> bool:
    return all(allowed(actor, EVERYWHERE, permission) for permission in MAY_ANSWER)


def require_may_answer(actor: Actor) -> None:
    for permission in MAY_ANSWER:
        require(actor, EVERYWHERE, permission)


def came_along(copy: Installation) -> QuerySet[Message]:
    """The unsent messages of the backup. What was accepted since exists here alone."""
    unsent = Message.objects.filter(stage__in=Stage.objects.values("pk"), status__in=UNSENT)
    return unsent.filter(pk__lte=copy.last_message or 0)


def unsent_by_stage(copy: Installation) -> list[StageMail]:
    rows = came_along(copy).order_by().values_list("stage_id", "status").annotate(emails=Count("pk"))
    counted = {(stage, status): emails for stage, status, emails in rows}
    stages = Stage.objects.filter(pk__in={stage for stage, _ in counted})
    return [_stage_mail(copy, stage, {status: counted.get((stage.pk, status), 0) for status in UNSENT}) for stage in stages]


def _stage_mail(copy: Installation, stage: Stage, emails: dict[Status, int]) -> StageMail:
    waiting = Recipient.objects.filter(status__in=UNSENT, message__in=came_along(copy).filter(stage=stage))
    real = waiting.exclude(rule__in=_NOT_REAL).values("address").distinct().count()
    return StageMail(stage, emails[Status.QUEUED] + emails[Status.DEFERRED], emails[Status.SENDING], real)


def held_copies() -> QuerySet[Message]:
    """What stays held until a person has looked. Found by the queue's index."""
    return Message.objects.filter(stage__in=Stage.objects.values("pk"), status=Status.HELD, hold_reason=HoldReason.COPY)


def held_by_stage() -> dict[Stage, int]:
    """The stages with such emails, and how many each has. A database that never was a copy has none, and isn't searched."""
    if not Installation.objects.exclude(last_message=None).exists():
        return {}
    counts = dict(held_copies().order_by().values_list("stage_id").annotate(emails=Count("pk")))
    return {stage: counts[stage.pk] for stage in Stage.objects.filter(pk__in=counts)}


def answer_for_one(message: Message, choice: HeldAnswer.Choice, actor: Actor, reason: str = "") -> None:
    """Deliver or discard one email of a copy. Raises PermissionDenied, and ValidationError where it isn't held for that."""
    require_may_answer(actor)
    with transaction.atomic():
        held = held_copies().filter(pk=message.pk)
        if not held.select_for_update(of=("self",)).exists():
            raise ValidationError(f"Email #{message.pk} isn't held as a copy's email any more, so nothing was changed.")
        place = Scope(message.app, message.stage)
        audit.record(actor, OPERATIONS[choice], message, scope=place, after={"held": "1 email of a copy", "reason": reason})
        if choice == Choice.DELIVER:
            release(held)
        else:
            end_together([message.pk], discard_words(actor, reason))
    wakeup.notify_on_commit()


def answer_for_stage(
    stage: Stage, choice: HeldAnswer.Choice, actor: Actor, *, reason: str = "", typed_stage_name: str = ""
) -> int:
    """Deliver or discard all of a stage's. Returns how many there are; the worker carries it out.

    Raises PermissionDenied and ValidationError (with the field `stage_name`).
    """
    require_may_answer(actor)
    with transaction.atomic():
        Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)
        if choice == Choice.DISCARD and stage.is_production:
            check_stage_name(stage, typed_stage_name, field="stage_name")
        emails = held_copies().filter(stage=stage).count()
        if not emails:
            raise ValidationError(f"No email of a copy is held in {stage}.")
        audit.record(actor, OPERATIONS[choice], stage, after={"held": f"{emails:,} emails of a copy", "reason": reason})
        words = discard_words(actor, reason) if choice == Choice.DISCARD else ""
        carry_out_after_commit(Scope(stage=stage), choice, [HoldReason.COPY], words)
    return emails
