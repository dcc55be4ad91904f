"""A message's own status, summed up from its recipients', and the reasons that hold a message until they go away."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from common import sql
from common.addresses import same_address_key
from common.clock import database_now
from emailconfig.models import SmtpSettings
from organization.models import Stage
from outbox import event_log, statements
from outbox.models import WAITING, HoldReason, Message, Pause, Recipient, RouteKind, Rule, Status
from outbox.routing import as_asked
from testlists.models import TestList, TestListAddress
from testlists.services import waits_for_decision

# How many messages are changed in one transaction.
_MESSAGES_AT_ONCE = 500


def sum_up(message: Message) -> None:
    """Bring the message's own row in line with its recipients' states, and end its claim."""
    states = list(message.recipients.values_list("status", "due"))
    message.status = summary([status for status, _ in states], held=bool(message.hold_reason))
    message.due = min((due for status, due in states if status in WAITING), default=database_now())
    message.owner, message.lease_until = "", None
    sql.update(message, "status", "due", "owner", "lease_until", "hold_reason", "notes")


def hold(message: Message, reason: HoldReason) -> None:
    """Hold the message until the reason goes away. Recipients who got it already stay sent."""
    message.recipients.filter(status__in=WAITING).update(status=Status.HELD)
    message.hold_reason = reason
    sum_up(message)
    transaction.on_commit(lambda: event_log.held(message.stage.key, [message.pk], reason), robust=True)


def summary(states: Sequence[str], *, held: bool) -> Status:
    """The message's status: what is still to happen comes before what happened.

    One failed or captured recipient makes the message failed or captured. A message without recipients was held with none to
    get it, and then cancelled.
    """
    if held:
        return Status.HELD
    for status in (Status.SENDING, Status.QUEUED, Status.DEFERRED, Status.HELD, Status.FAILED, Status.CAPTURED):
        if status in states:
            return status
    return Status.SENT if states else Status.FAILED


def hold_together(ids: Sequence[int], stage_key: str, reason: HoldReason) -> None:
    """As hold(), for messages whose recipients wait and whose rows are locked."""
    Recipient.objects.filter(message__in=ids, status__in=WAITING).update(status=Status.HELD)
    Message.objects.filter(pk__in=ids).update(status=Status.HELD, hold_reason=reason, owner="", lease_until=None)
    transaction.on_commit(lambda: event_log.held(stage_key, ids, reason), robust=True)


def hold_unconfigured(stage_id: int) -> None:
    """Hold the waiting messages of a stage without settings, which has nowhere to send to."""
    stage_key = Stage.objects.values_list("key", flat=True).get(pk=stage_id)
    waiting = Message.objects.filter(stage=stage_id, status__in=WAITING)
    change_in_slices(waiting, lambda ids: hold_together(ids, stage_key, HoldReason.STAGE_NOT_CONFIGURED))


def release(held: QuerySet[Message], slices: int | None = None) -> bool:
    """Queue what is held, and return whether it was all. Its route is checked again when it is claimed, like any other's."""
    return change_in_slices(held.filter(status=Status.HELD), queue_together, slices)


def queue_together(ids: Sequence[int]) -> None:
    """Queue messages that are held and whose rows are locked."""
    now = database_now()
    Recipient.objects.filter(message__in=ids, status=Status.HELD).update(status=Status.QUEUED, due=now)
    Message.objects.filter(pk__in=ids).update(status=Status.QUEUED, hold_reason="", due=now)


def end_together(ids: Sequence[int], words: str) -> None:
    """End messages that wait or are held, and whose rows are locked, as failed with these words. Who got one keeps it."""
    Recipient.objects.filter(message__in=ids, status__in=(*WAITING, Status.HELD)).update(
        status=Status.FAILED, last_reply=words, finished=database_now()
    )
    Message.objects.filter(pk__in=ids).update(status=Status.FAILED, hold_reason="")
    ended = list(Message.objects.filter(pk__in=ids).select_related("app", "stage").defer("search_text"))
    transaction.on_commit(lambda: event_log.ended_together(ended, words), robust=True)


def release_to_list(reason: HoldReason, **place: int) -> None:
    """Test mail goes on without a question when the reason is gone: hand-over lets it go to the people on the list alone."""
    release(Message.objects.filter(route=RouteKind.TEST_LIST, hold_reason=reason, **place))


def release_what_waits(*reasons: HoldReason) -> None:
    """Release held test mail whose reason is gone, also what was accepted in the moment when it went away.

    Without `reasons`, of any reason.
    """
    is_gone = _reasons_gone()
    for held_for, app_id, stage_id in sql.fetch(statements.HELD_TEST_MAIL):
        reason = HoldReason(held_for)
        if reasons and reason not in reasons:
            continue
        if reason == HoldReason.LIST_EXPIRED:
            settle_expired_list(app_id, stage_id)
        elif is_gone[reason](app_id, stage_id):
            release_to_list(reason, app=app_id, stage=stage_id)


def _reasons_gone() -> Mapping[HoldReason, Callable[[int, int], bool]]:
    """For each reason whether it is gone for an app in a stage."""
    configured = set(SmtpSettings.objects.values_list("stage_id", flat=True))
    paused = set(Pause.objects.values_list("app_id", "stage_id"))
    return {
        HoldReason.STAGE_NOT_CONFIGURED: lambda app_id, stage_id: stage_id in configured,
        HoldReason.PAUSED: lambda app_id, stage_id: not {(app_id, stage_id), (None, stage_id)} & paused,
        HoldReason.TEST_LIST_EMPTY: _list_has_people,
        HoldReason.TEST_LIST_MISSING: _list_exists,
    }


def _list_has_people(app_id: int, stage_id: int) -> bool:
    listed = TestListAddress.objects.filter(test_list__app=app_id, test_list__stage=stage_id)
    return listed.exclude(member__is_active=False).exists()


def _list_exists(app_id: int, stage_id: int) -> bool:
    return TestList.objects.filter(app=app_id, stage=stage_id).exists()


def settle_expired_list(app_id: int, stage_id: int) -> None:
    """Once a person has extended or deactivated an expired list: test mail goes to the list, and the rest asks.

    What was accepted while the list was Active, or waited then, is test mail. So is the rest, if the list is Active again.
    """
    test_list = TestList.objects.select_related("stage").filter(app=app_id, stage=stage_id).first()
    now = database_now()
    if test_list is None or waits_for_decision(test_list, now):
        return
    held = Message.objects.filter(
        app=app_id, stage=stage_id, status=Status.HELD, hold_reason=HoldReason.LIST_EXPIRED, route=RouteKind.TEST_LIST
    )
    version, active_version = test_list.version, test_list.active_version
    for_the_list = Exists(Recipient.objects.filter(message=OuterRef("pk"), rule=Rule.TEST_LIST, status=Status.HELD))
    caught = Q(for_the_list) | Q(list_version__lt=active_version) | Q(list_version__gt=version)
    if test_list.is_active(now):
        release(held)
    else:
        release(held.filter(caught))
        change_in_slices(held.exclude(caught), lambda ids: _route_as_asked(ids, version))


def _route_as_asked(ids: list[int], list_version: int) -> None:
    """Keep them held for the recipients that their app gave, about whom a person decides (see held_mail)."""
    now, missing = database_now(), []
    for message in Message.objects.filter(pk__in=ids).prefetch_related("recipients"):
        known = {same_address_key(recipient.address) for recipient in message.recipients.all()}
        missing += [
            Recipient(message=message, address=item.person.email, rule=item.rule, status=Status.HELD, due=now)
            for item in as_asked(message.requested).recipients
            if same_address_key(item.person.email) not in known
        ]
    Recipient.objects.bulk_create(missing)
    Message.objects.filter(pk__in=ids).update(route=RouteKind.RECIPIENTS, list_version=list_version)


def change_in_slices(messages: QuerySet[Message], change: Callable[[list[int]], None], slices: int | None = None) -> bool:
    """Change some messages at a time, with their rows locked, and return whether so many `slices` were enough for all.

    A message that arrives between two statements must not be changed by halves. Messages that another transaction has locked
    are left for the next sweep.
    """
    # Not simply by number: PostgreSQL would walk through all of a stage's numbers to find the few that wait.
    by_number = F("pk") + 0
    after = 0
    for _ in itertools.count() if slices is None else range(slices):
        with transaction.atomic():
            rows = messages.filter(pk__gt=after).order_by(by_number).select_for_update(skip_locked=True, of=("self",))
            ids = list(rows.values_list("pk", flat=True)[:_MESSAGES_AT_ONCE])
            if not ids:
                return True
            change(ids)
            after = ids[-1]
    return False
