"""The two answers about a copy: it replaces the original, or it is a test copy.

Nothing leaves while the copy asks. So what takes long, with many emails, is done before the transaction that seals the database
as its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from common.addresses import same_address_key
from common.clock import database_now
from emailconfig.services import forget_secrets
from organization import audit
from organization.access import Actor
from organization.credentials import revoke_all_credentials
from organization.installation.identity import database_name
from organization.installation.seal import asking_copy, current_seal, differences
from organization.models import Installation, Stage
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox import wakeup
from outbox.copies.copied_mail import UNSENT, came_along, require_may_answer
from outbox.copies.noticing import note_what_came
from outbox.models import HeldAnswer, HoldReason, Message, Recipient, RouteKind, Rule, Status
from outbox.states import change_in_slices

NO_COPY = "This database isn't a copy, so nothing was changed."
WRONG_NAME = "This isn't the name of the database. Type “{name}”."
_UNFINISHED = (*UNSENT, Status.HELD)


def replace_original(actor: Actor) -> int:
    """This replaces the original: what came unsent stays held until a person has looked. Returns how many emails that is.

    What was accepted here since the copy was noticed is sent. Raises PermissionDenied, and ValidationError if this is no copy.
    """
    require_may_answer(actor)
    copy = _noticed_copy()
    change_in_slices(came_along(copy), _hold)
    with transaction.atomic():
        _still_asking(copy)
        _change_the_rest(came_along(copy), _hold)
        HeldAnswer.objects.all().delete()  # the original may have carried them out
        held = Message.objects.filter(status=Status.HELD, hold_reason=HoldReason.COPY).count()
        _seal(copy, audit.Operation.REPLACE_ORIGINAL, actor, {"held": held})
    return held


def make_test_copy(actor: Actor, name: str, *, keep_session: str = "") -> None:
    """This is a test copy: every stage captures, and no secret, token or credential is left.

    `name` is what a person typed as the database's name. `keep_session`: the session of the one who answers. Raises
    PermissionDenied, and ValidationError (with the field `database`) for another name or where this is no copy.
    """
    require_may_answer(actor)
    copy = _noticed_copy()
    if name not in names_of_database():
        raise ValidationError({"database": WRONG_NAME.format(name=names_of_database()[0])})
    unfinished = Message.objects.filter(status__in=_UNFINISHED)
    change_in_slices(unfinished, _capture)
    with transaction.atomic():
        _still_asking(copy)
        for stage in Stage.objects.order_by("pk"):
            change_policy(stage, RecipientPolicy.NOBODY, actor)
        _change_the_rest(unfinished, _capture)
        HeldAnswer.objects.all().delete()
        Session.objects.exclude(session_key=keep_session).delete()
        removed = {"secrets": forget_secrets(actor), "credentials": revoke_all_credentials(actor)}
        _seal(copy, audit.Operation.MAKE_TEST_COPY, actor, removed)


def names_of_database() -> list[str]:
    """What a person may type as the database's name; with SQLite the name of its file, or its path."""
    name = database_name()
    return list(dict.fromkeys([Path(name).name, name]))


def _noticed_copy() -> Installation:
    copy = asking_copy()
    if copy is None:
        raise ValidationError(NO_COPY)
    return note_what_came(copy)


def _still_asking(copy: Installation) -> None:
    """Lock the seal. Another person may have answered meanwhile."""
    if not Installation.objects.select_for_update().filter(pk=copy.pk, seal=copy.seal).exists():
        raise ValidationError(NO_COPY)


def _change_the_rest(messages: QuerySet[Message], change: Callable[[list[int]], None]) -> None:
    """Change what another transaction had locked before, or has queued since."""
    if rest := list(messages.select_for_update(of=("self",)).values_list("pk", flat=True)):
        change(rest)


def _seal(copy: Installation, operation: audit.Operation, actor: Actor, after: dict[str, Any]) -> None:
    changed = differences(copy)
    copy.seal, copy.sealed = current_seal(), database_now()
    copy.save(update_fields=["seal", "sealed"])
    before = {name: part for name, (part, _) in changed.items()}
    after = {**{name: part for name, (_, part) in changed.items()}, **after}
    audit.record(actor, operation, copy, before=before, after=after)
    wakeup.notify_on_commit()


def _hold(ids: list[int]) -> None:
    """Also what was on the wire: its worker was the original's."""
    Recipient.objects.filter(message__in=ids, status__in=UNSENT).update(status=Status.HELD)
    Message.objects.filter(pk__in=ids).update(status=Status.HELD, hold_reason=HoldReason.COPY, owner="", lease_until=None)


def _capture(ids: list[int]) -> None:
    """As a claim does under the policy *Nobody*: in place of the people on a test list, those whom the app named."""
    unfinished = Recipient.objects.filter(message__in=ids, status__in=_UNFINISHED)
    unfinished.filter(rule=Rule.TEST_LIST).delete()
    unfinished.update(status=Status.CAPTURED, rule=Rule.CAPTURED, finished=database_now())
    known = {
        (message, same_address_key(address))
        for message, address in Recipient.objects.filter(message__in=ids).values_list("message_id", "address")
    }
    captured = {"rule": Rule.CAPTURED, "status": Status.CAPTURED, "finished": database_now()}
    Recipient.objects.bulk_create(
        Recipient(message_id=message, address=address, **captured)
        for message, requested in Message.objects.filter(pk__in=ids).values_list("pk", "requested")
        for address in requested
        if (message, same_address_key(address)) not in known
    )
    captured_messages = {"status": Status.CAPTURED, "route": RouteKind.CAPTURED, "hold_reason": ""}
    Message.objects.filter(pk__in=ids).update(**captured_messages, owner="", lease_until=None)
    failed = Recipient.objects.filter(message__in=ids, status=Status.FAILED)
    Message.objects.filter(pk__in=failed.values("message")).update(status=Status.FAILED)
