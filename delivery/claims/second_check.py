"""The second check of messages whose route may have changed since they were accepted, or that are to be held.

It comes after their claim, in a transaction of its own. It locks their test lists once more and checks each route, only toward
safer. Then the messages that may leave are claimed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common import sql
from common.addresses import same_address_key
from common.clock import database_now
from delivery import statements
from delivery.claims.claim import (
    Particulars,
    claimed_message,
    one_transaction,
    query_particulars,
    query_recipients,
    reason_to_hold,
    route_still_holds,
)
from delivery.claims.in_force import StageInForce, query_in_force
from delivery.leases import queue_again
from delivery.statements import DueMessage
from delivery.values import Claim, ClaimedMessage
from organization.recipient_policy.policy import PolicyState
from outbox.actions import reached_by
from outbox.models import WAITING, HandOverCapture, HoldReason, Message, Recipient, RouteKind, Rule, Status
from outbox.routing import Route, RoutedPerson, StoredRoute, route_again
from outbox.search_text import with_recipients
from outbox.states import hold, hold_together, sum_up

CAUGHT = "The test list became Active after the email was accepted, so the email goes to the people on the list instead."
NARROWED = "The stage's recipient policy became narrower after the email was accepted: only allowed addresses get it."
_LIST_MISSING = "The test list was missing when the email was about to be sent, so the email counts as test mail and is held."
_LIST_HAD_EXPIRED = "The test list had expired when the email was about to be sent, so the email counts as test mail and is held."


def look_again(
    stage_id: int, messages: Sequence[DueMessage], before: Claim, claim: Claim, most_recipients: int
) -> list[ClaimedMessage]:
    """Check messages that were claimed as `before`, in the caller's transaction. Those that may leave are claimed as `claim`.

    A message to more than `most_recipients` may leave to the first of them, and the others stay due. Messages whose list is
    being saved at this moment go back to the queue.
    """
    ids = [message.pk for message in messages]
    locked = set(sql.fetch(statements.CLAIM_AGAIN, claim.owner, claim.lease.total_seconds(), ids, before.owner))
    queue_again([message_id for message_id in ids if message_id not in locked], before.owner)
    sql.run(statements.UNMARK_RECIPIENTS, claim.owner)
    read_particulars, read_in_force = query_particulars(stage_id, claim), query_in_force(stage_id)
    particulars, in_force = read_particulars(), read_in_force()
    messages = _hold_back([message for message in messages if message.pk in locked], particulars, in_force)
    messages = [_route_once_more(message, particulars, in_force.policy) for message in messages]
    particulars = particulars._replace(recipients=query_recipients(claim)())
    return _claim_again(messages, particulars, in_force, claim, most_recipients)


def _hold_back(messages: Sequence[DueMessage], particulars: Particulars, in_force: StageInForce) -> Sequence[DueMessage]:
    """Hold what is paused, and what waited too long for the server. Returns the others."""
    reasons = {mail.pk: reason_to_hold(in_force.brakes, mail, particulars.recipients[mail.pk]) for mail in messages}
    for reason in (HoldReason.PAUSED, HoldReason.WAITED_TOO_LONG):
        if held := [message.pk for message in messages if reasons[message.pk] == reason]:
            hold_together(held, messages[0].stage_key, reason)
    return [message for message in messages if reasons[message.pk] is None]


def _route_once_more(mail: DueMessage, particulars: Particulars, policy: PolicyState) -> DueMessage:
    """Check policy and list again. The message may get other recipients, be captured or be held, only toward safer."""
    state = particulars.list_of(mail)
    if route_still_holds(mail, particulars.recipients[mail.pk], state, policy):
        return mail
    message = Message.objects.get(pk=mail.pk)
    recipients = list(message.recipients.all())
    new_route = route_again(stored_route(message, recipients), message.requested, state, policy)
    if new_route is None:
        return mail
    if message.resent_from:
        new_route = _without_reached(new_route, message, recipients)
    _apply_route(message, recipients, new_route, state.version)
    if new_route.hold_reason:
        hold(message, new_route.hold_reason)
    return mail._replace(route=message.route)


def _claim_again(
    messages: Sequence[DueMessage], particulars: Particulars, in_force: StageInForce, claim: Claim, most_recipients: int
) -> list[ClaimedMessage]:
    """Mark those of the messages' recipients who get it now. A message without any is held or captured, or not due after all."""
    leaving = []
    for message in messages:
        recipients = particulars.recipients.get(message.pk)
        if recipients is None or not recipients.due:
            sum_up(Message.objects.get(pk=message.pk))
        else:
            recipients.due = one_transaction(recipients.due, most_recipients)
            leaving.append(claimed_message(message, claim, particulars, in_force))
    sql.run(statements.MARK_RECIPIENTS, [recipient.pk for message in leaving for recipient in message.recipients])
    return leaving


def stored_route(message: Message, recipients: Sequence[Recipient]) -> StoredRoute:
    """What was decided about the message, and who of its recipients still waits for it."""
    waiting = [recipient for recipient in recipients if recipient.status in WAITING]
    allowed = tuple(recipient.address for recipient in waiting if recipient.rule == Rule.ALLOWED)
    kind, has_recipients = RouteKind(message.route), bool(waiting)
    return StoredRoute(kind, message.list_version, message.policy_version, has_recipients, allowed, message.is_own)


def _without_reached(new_route: Route, message: Message, recipients: Sequence[Recipient]) -> Route:
    """A resent message doesn't go to people who got it before, except to those for whom it was resent."""
    own = {same_address_key(recipient.address) for recipient in recipients}
    remaining = new_route.without(reached_by([message])[message.pk] - own)
    return new_route if remaining.reaches_nobody else remaining


def _apply_route(message: Message, recipients: Sequence[Recipient], new_route: Route, list_version: int) -> None:
    """Bring the waiting recipients in line with `new_route`. Recipients who got the message stay recorded as sent."""
    people = {same_address_key(item.person.email): item for item in new_route.recipients}
    leaving = [
        recipient for recipient in recipients if recipient.status in WAITING and same_address_key(recipient.address) not in people
    ]
    staying = {same_address_key(recipient.address) for recipient in recipients if recipient not in leaving}
    joining = [item for key, item in people.items() if key not in staying]
    if not leaving and not joining and message.route == new_route.kind and message.list_version == list_version:
        return
    captured = {same_address_key(address): address for address in new_route.captured}
    capture_recipients([recipient for recipient in leaving if same_address_key(recipient.address) in captured])
    Recipient.objects.filter(pk__in=[recipient.pk for recipient in leaving], status__in=WAITING).delete()
    _give_new_rules([recipient for recipient in recipients if recipient not in leaving], people)
    known = {same_address_key(recipient.address) for recipient in recipients}
    unnamed = [captured_recipient(message, address) for key, address in captured.items() if key not in known]
    Recipient.objects.bulk_create(
        [
            *(
                Recipient(message=message, address=item.person.email, name=item.person.name, rule=item.rule, due=message.due)
                for item in joining
            ),
            *unnamed,
        ]
    )
    note_captures(unnamed)
    if message.route != new_route.kind:
        message.route = new_route.kind
        message.notes = [*message.notes, _note_of(new_route)]
    message.list_version = list_version
    message.search_text = with_recipients(message.search_text, [person.email for person in new_route.people])
    sql.update(message, "route", "list_version", "notes", "search_text")


def _give_new_rules(recipients: Sequence[Recipient], people: Mapping[str, RoutedPerson]) -> None:
    """A recipient that the app gave may be on the list that catches the message now: then it is the list's copy."""
    for recipient in recipients:
        routed = people.get(same_address_key(recipient.address))
        if routed and routed.rule != recipient.rule and recipient.status in WAITING:
            Recipient.objects.filter(pk=recipient.pk, status__in=WAITING).update(rule=routed.rule)


def capture_recipients(recipients: Sequence[Recipient]) -> None:
    """Mark these recipients as captured. Other recipients of their messages stay as they are."""
    captured = Recipient.objects.filter(pk__in=[recipient.pk for recipient in recipients])
    captured.update(status=Status.CAPTURED, rule=Rule.CAPTURED, finished=database_now())
    note_captures(recipients)


def note_captures(recipients: Sequence[Recipient]) -> None:
    """Note captured copies for Analytics, which may have counted their messages before."""
    HandOverCapture.objects.bulk_create(
        HandOverCapture(message_id=recipient.message_id, address=recipient.address) for recipient in recipients
    )


def captured_recipient(message: Message, address: str) -> Recipient:
    """A captured recipient of a message that was on its way to a test list. An address that the app named had no row then."""
    return Recipient(message=message, address=address, rule=Rule.CAPTURED, status=Status.CAPTURED, finished=database_now())


def _note_of(again: Route) -> str:
    if again.hold_reason == HoldReason.TEST_LIST_MISSING:
        return _LIST_MISSING
    if again.hold_reason == HoldReason.LIST_EXPIRED:
        return _LIST_HAD_EXPIRED
    return CAUGHT if again.kind == RouteKind.TEST_LIST else NARROWED
