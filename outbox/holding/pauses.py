"""A person's brake on the emails of a stage, or of one app in it: they are accepted and held until *Resume*.

A pause takes the hand-over locks first, so that nothing leaves after it but what was handed to the server before.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction

from common.clock import database_now
from common.waiting import wait_until_zero
from organization import audit
from organization.access import Actor, Scope, require
from organization.models import Stage
from outbox import wakeup
from outbox.holding.held_mail import (
    Choice,
    HeldMail,
    answer,
    deliver_after_short_pause,
    drop_answers,
    held_mail,
    in_place,
    permissions_for,
)
from outbox.models import WAITING, HoldReason, Message, Pause, Status
from outbox.states import change_in_slices, hold_together, release_what_waits
from testlists.services import lock_against_claims, lock_stage_against_hand_over

# A shorter pause ends without a question.
SHORT = timedelta(minutes=15)
_SLICES_AT_ONCE = 2
_WAIT_SECONDS = 10.0


def pause(place: Scope, reason: str, actor: Actor) -> Pause:
    """From here on the place's email is accepted and held. Raises PermissionDenied, and ValidationError (with `reason`)."""
    require(actor, place, *permissions_for(place))
    with transaction.atomic():
        stage = _locked(place)
        new = Pause(stage=stage, app=place.app, by=str(actor), reason=" ".join(reason.split()))
        if pauses_exactly(place) is not None:
            raise ValidationError(f"{new.place} is paused already.")
        new.clean_fields(exclude=["stage", "app"])
        _lock_hand_over(place)
        new.asks = in_place(Message.objects.filter(status=Status.HELD, hold_reason=HoldReason.PAUSED), place).exists()
        drop_answers(place)
        new.save()
        audit.record(actor, audit.Operation.PAUSE, new, after=audit.snapshot(new))
        transaction.on_commit(lambda: hold_paused(new, _SLICES_AT_ONCE), robust=True)  # hand-over does it if we can't
    return new


def resume(place: Scope, actor: Actor, *, held: Choice | None = None, reason: str = "", typed_stage_name: str = "") -> HeldMail:
    """End the pause of this very place. Returns what is held there and asks now.

    `held` is the answer about that; without it the email of a short pause goes, and any other stays held until a person answers.
    Raises PermissionDenied, and ValidationError where nothing is paused.
    """
    require(actor, place, *permissions_for(place))
    with transaction.atomic():
        _locked(place)
        ended = pauses_exactly(place)
        if ended is None:
            raise ValidationError(f"{place.app or place.stage} isn't paused.")
        audit.record(actor, audit.Operation.RESUME, ended, before=audit.snapshot(ended))
        is_short = not ended.asks and database_now() - ended.since < SHORT
        ended.delete()
        transaction.on_commit(lambda: release_what_waits(HoldReason.PAUSED), robust=True)  # the worker does it if we can't
        wakeup.notify_on_commit()
        question = held_mail(place)
        if held is not None:
            if question:
                answer(place, held, actor, reason=reason, typed_stage_name=typed_stage_name)
        elif is_short:
            deliver_after_short_pause(place)
            return HeldMail()
    return question


def pauses_exactly(place: Scope) -> Pause | None:
    """The pause of this stage as a whole, or of this app in it."""
    return Pause.objects.filter(stage=place.stage, app=place.app).select_related("stage", "app").first()


def hold_all_paused() -> None:
    """For the worker's sweep: what waits longer for its next try than hand-over would look at it."""
    for paused in Pause.objects.select_related("stage"):
        hold_paused(paused)


def hold_paused(paused: Pause, slices: int | None = None) -> None:
    waiting = in_place(Message.objects.filter(status__in=WAITING), Scope(paused.app, paused.stage))
    change_in_slices(waiting, lambda ids: hold_together(ids, paused.stage.key, HoldReason.PAUSED), slices)


def emails_leaving(place: Scope) -> int:
    return in_place(Message.objects.filter(status=Status.SENDING), place).count()


def wait_until_none_in_flight(place: Scope, seconds: float = _WAIT_SECONDS) -> int:
    """Wait for what was handed over before a pause. Returns what is still on the wire: 0 means the pause holds."""
    return wait_until_zero(lambda: emails_leaving(place), seconds)


def _locked(place: Scope) -> Stage:
    assert place.stage is not None
    return Stage.objects.select_for_update(no_key=True).get(pk=place.stage.pk)


def _lock_hand_over(place: Scope) -> None:
    assert place.stage is not None
    if place.app:
        lock_against_claims(place.app, place.stage)
    else:
        lock_stage_against_hand_over(place.stage)
