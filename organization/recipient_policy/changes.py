"""Changes to who may get email from a stage. Every entry point ends here: permission, validation, change and audit.

A change to the wider needs the stage's typed name, and frees nothing that was accepted before. A change to the narrower takes
the hand-over locks of the stage's apps first, so that it holds for everything that isn't on the wire yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from django.core.exceptions import ValidationError
from django.db import transaction

from common.clock import database_now
from common.waiting import wait_until_zero
from organization import audit
from organization.access import Actor, Scope, allowed, require
from organization.exceptions import StaleVersion
from organization.models import AllowedAddress, Member, Stage
from organization.permissions import Permission
from organization.recipient_policy.patterns import MAX_ALLOWED, TOO_MANY, normalize_all
from organization.recipient_policy.policy import RecipientPolicy
from organization.recipient_policy.reading import policy_of
from organization.signals import count_stage_leaving, stage_narrowing
from organization.stage_name import check_stage_name

NARROWING_WAIT_SECONDS = 10.0
LONGEST = timedelta(days=366)
_COLUMNS = ("recipient_policy", "policy_until", "policy_afterwards", "policy_version", "listed_since", "open_since")


def may_change(actor: Actor, stage: Stage) -> bool:
    return allowed(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)


def policy_in_force(stage: Stage, now: datetime) -> RecipientPolicy:
    """The policy by the clock: after its end the narrower one is in force again, without anybody writing it."""
    is_expired = stage.policy_until is not None and stage.policy_until <= now
    return RecipientPolicy(stage.policy_afterwards if is_expired else stage.recipient_policy)


def change_policy(
    stage: Stage,
    policy: RecipientPolicy,
    actor: Actor,
    *,
    until: datetime | None = None,
    typed_stage_name: str = "",
    expected_version: int | None = None,
) -> Stage:
    """Put `policy` in force at once; `until` is the end of a wider one. Returns the stage as it is stored now.

    A narrower policy that is still wider than what the end ahead leads back to keeps that end.

    `expected_version` is the policy version that the change was made from: a wider policy over a newer version is refused, a
    narrower one isn't. Raises PermissionDenied, ValidationError (with the fields `policy`, `until`, `stage_name`), StaleVersion.
    """
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        stored, now = _locked(stage), database_now()
        before, current, end = audit.snapshot(stored), policy_in_force(stored, now), end_ahead(stored, now)
        ends = end is not None and policy.is_wider_than(RecipientPolicy(stored.policy_afterwards))
        if current.is_wider_than(policy) and ends and until is None:
            until = end
        lasts_longer = end is not None and ends and (until is None or until > end)
        if policy.is_wider_than(current) or lasts_longer:
            check_stage_name(stored, typed_stage_name, field="stage_name")
            _check_version(stored, expected_version)
        elif until is not None and not ends:
            raise ValidationError({"until": "Only a wider policy has an end. This one stays until you change it."})
        check_end(until, now)
        if current.is_wider_than(policy):
            stage_narrowing.send(Stage, stage=stored)
        _put_in_force(stored, policy, until, now)
        _save(stored)
        audit.record(actor, audit.Operation.CHANGE_RECIPIENT_POLICY, stored, before=before, after=audit.snapshot(stored))
    return stored


def allow(
    stage: Stage,
    patterns: Sequence[str],
    actor: Actor,
    *,
    until: datetime | None = None,
    typed_stage_name: str = "",
    expected_version: int | None = None,
) -> list[AllowedAddress]:
    """Allow addresses and domains from the next email on. What is allowed already gets the new end.

    Raises PermissionDenied, ValidationError (with the fields `patterns`, `until`, `stage_name`), StaleVersion.
    """
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    with transaction.atomic():
        stored, now = _locked(stage), database_now()
        check_stage_name(stored, typed_stage_name, field="stage_name")
        _check_version(stored, expected_version)
        check_end(until, now)
        normal = _normalized(patterns)
        stored.policy_version += 1
        entries = [_allowed(stored, pattern, until, actor, now) for pattern in normal]
        if stored.allowed_addresses.count() > MAX_ALLOWED:
            raise ValidationError({"patterns": TOO_MANY})
        _save(stored)
    return entries


def allow_oneself(stage: Stage, member: Member) -> AllowedAddress:
    """A member's own sign-in address, without the stage's name: it opens the stage to nobody else. Raises PermissionDenied."""
    (entry,) = allow(stage, [member.email], member, typed_stage_name=stage.name)
    return entry


def disallow(stage: Stage, pattern: str, actor: Actor) -> None:
    """Holds for all email that isn't on the wire. Raises PermissionDenied, and ValidationError where it isn't allowed now."""
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    (pattern,) = _normalized([pattern])
    with transaction.atomic():
        stored = _locked(stage)
        entry = stored.allowed_addresses.filter(pattern=pattern).first()
        if entry is None:
            raise ValidationError({"patterns": f"{pattern} isn't among the allowed addresses of {stored.name}."})
        stage_narrowing.send(Stage, stage=stored)
        audit.record(actor, audit.Operation.DELETE, entry, before=audit.snapshot(entry))
        entry.delete()
        stored.policy_version += 1
        _save(stored)


def emails_leaving(stage: Stage) -> int:
    """Count the emails that are being sent to a recipient whom the current policy excludes."""
    answers = cast(list[tuple[object, int]], count_stage_leaving.send(Stage, policy=policy_of(stage), stage=stage))
    return sum(count for _, count in answers)


def wait_until_none_in_flight(stage: Stage, seconds: float = NARROWING_WAIT_SECONDS) -> int:
    """Wait for what was handed over before a change to the narrower. Returns what is still on the wire: 0 means it holds."""
    return wait_until_zero(lambda: emails_leaving(stage), seconds)


def _locked(stage: Stage) -> Stage:
    """Without its key: email is accepted meanwhile and refers to it."""
    return Stage.objects.select_for_update(no_key=True).get(pk=stage.pk)


def _check_version(stage: Stage, expected_version: int | None) -> None:
    """Of two who change it at once the safer change wins: a wider one is made from what is stored, or not at all."""
    if expected_version is not None and expected_version != stage.policy_version:
        raise StaleVersion()


def check_end(until: datetime | None, now: datetime, *, field: str = "until") -> None:
    """An end of anything that is in force for a time. Raises ValidationError for the `field`."""
    if until is None:
        return
    if until <= now:
        raise ValidationError({field: "This time is in the past. Choose one in the future, or leave it empty."})
    if until > now + LONGEST:
        raise ValidationError({field: "Choose a time within a year."})


def end_ahead(stage: Stage, now: datetime) -> datetime | None:
    """When the policy in force ends, if it does."""
    return stage.policy_until if stage.policy_until is not None and stage.policy_until > now else None


def _put_in_force(stage: Stage, policy: RecipientPolicy, until: datetime | None, now: datetime) -> None:
    current = policy_in_force(stage, now)
    stage.policy_version += 1
    if policy.is_wider_than(current):
        if policy == RecipientPolicy.AS_APPS_ASK:
            stage.open_since = stage.policy_version
        if current == RecipientPolicy.NOBODY:
            stage.listed_since = stage.policy_version
    if until is None:
        stage.policy_afterwards = ""
    elif end_ahead(stage, now) is None:  # else the end leads back to what was in force before all of it
        stage.policy_afterwards = current
    stage.recipient_policy, stage.policy_until = policy, until


def _save(stage: Stage) -> None:
    """A form of the stage's own that was read before is stale now, too."""
    stage.version += 1
    stage.save(update_fields=[*_COLUMNS, "version"])


def _normalized(patterns: Sequence[str]) -> list[str]:
    try:
        return normalize_all(patterns)
    except ValidationError as error:
        raise ValidationError({"patterns": error}) from error


def _allowed(stage: Stage, pattern: str, until: datetime | None, actor: Actor, now: datetime) -> AllowedAddress:
    entry = stage.allowed_addresses.select_for_update().filter(pattern=pattern).first()
    before = audit.snapshot(entry) if entry else {}
    if entry is None:
        entry = AllowedAddress(stage=stage, pattern=pattern, created_by=str(actor))
    is_in_force = entry.pk is not None and not entry.is_expired(now)
    entry.until = until
    if not is_in_force:
        entry.version = stage.policy_version
    entry.full_clean()
    entry.save()
    audit.record(
        actor, audit.Operation.UPDATE if before else audit.Operation.CREATE, entry, before=before, after=audit.snapshot(entry)
    )
    return entry
