"""Captures what a narrower policy lets nobody get any more, before the stage's server is contacted for it.

Each claim checks the route again (see claims), but a worker connects before it claims, and a server that is down is never
claimed for. What an allowed address or the people on a list still get is left to the claim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from common.addresses import same_address_key
from common.clock import database_now
from delivery.claims.second_check import NARROWED, capture_recipients, captured_recipient, note_captures, stored_route
from organization.models import Stage
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from organization.recipient_policy.reading import policies_of
from outbox.models import WAITING, Message, Recipient, RouteKind, Status
from outbox.routing import Route, route_again
from outbox.states import change_in_slices, summary
from testlists.state import NO_LIST, ListState, states_of_stage

# So many slices are looked at again after each capture. Only messages to allowed addresses may be looked at in vain.
_SLICES_AT_ONCE = 2


def capture_narrowed(stage_id: int) -> None:
    """Capture the stage's waiting messages that nobody may get, in short transactions."""
    policy = policies_of([stage_id])[stage_id]
    if not policy.version:  # it never was another one
        return
    waiting = Message.objects.filter(_may_be_caught(policy), stage=stage_id, status__in=WAITING)
    # What is accepted from here on may be accepted under a wider policy.
    waiting = waiting.filter(policy_version__lte=policy.version)
    if waiting.exists():
        lists = states_of_stage(Stage.objects.get(pk=stage_id), database_now())
        while _capture_some(waiting, lists, policy):
            pass


def capture_all_narrowed() -> None:
    """For the worker's sweep: also what is tried again later, or waits for a server in trouble."""
    for stage_id in Stage.objects.values_list("pk", flat=True):
        capture_narrowed(stage_id)


def _may_be_caught(policy: PolicyState) -> Q:
    """The messages that may have been accepted under a wider policy. The second check decides (see route_again)."""
    if policy.policy == RecipientPolicy.NOBODY:
        return ~Q(route=RouteKind.FORWARDED)
    silenced = Q(policy_version__lt=policy.listed_since) & ~Q(route=RouteKind.FORWARDED)
    to_real = Q(route=RouteKind.RECIPIENTS)
    if policy.policy == RecipientPolicy.AS_APPS_ASK:
        to_real &= Q(policy_version__lt=policy.open_since)
    return silenced | to_real | Q(route=RouteKind.ALLOWED)


def _capture_some(waiting: QuerySet[Message], lists: Mapping[int, ListState], policy: PolicyState) -> bool:
    """Capture some of them, and return whether there were any."""
    captured: list[Message] = []
    change_in_slices(waiting, lambda ids: captured.extend(_capture(ids, lists, policy)), _SLICES_AT_ONCE)
    return bool(captured)


def _capture(ids: Sequence[int], lists: Mapping[int, ListState], policy: PolicyState) -> list[Message]:
    """Capture those of these messages, whose rows are locked, that nobody gets. Returns them."""
    captured, leaving, joining, dropped = [], list[Recipient](), list[Recipient](), list[int]()
    for message in Message.objects.filter(pk__in=ids).prefetch_related("recipients"):
        test_list = lists.get(message.app_id, NO_LIST)
        recipients = list(message.recipients.all())
        new_route = route_again(stored_route(message, recipients), message.requested, test_list, policy)
        if new_route is None or new_route.recipients or new_route.hold_reason:
            continue
        by_key = {same_address_key(address): address for address in new_route.captured}
        known = {same_address_key(recipient.address) for recipient in recipients}
        for recipient in recipients:
            if recipient.status in WAITING:
                if same_address_key(recipient.address) in by_key:
                    leaving.append(recipient)
                else:
                    dropped.append(recipient.pk)
        joining += [captured_recipient(message, address) for key, address in by_key.items() if key not in known]
        _note_capture(message, recipients, new_route, test_list)
        captured.append(message)
    capture_recipients(leaving)
    Recipient.objects.filter(pk__in=dropped).delete()
    Recipient.objects.bulk_create(joining)
    note_captures(joining)
    _save(captured)
    return captured


def _note_capture(message: Message, recipients: Sequence[Recipient], new_route: Route, test_list: ListState) -> None:
    """Bring the message's own row in line. Recipients who got it already, or were refused, stay so."""
    ended = [recipient.status for recipient in recipients if recipient.status not in WAITING]
    message.status = summary([*ended, Status.CAPTURED], held=False)
    message.route, message.list_version = new_route.kind, test_list.version
    message.notes = [*message.notes, NARROWED]


def _save(messages: Sequence[Message]) -> None:
    """With one statement for all that are alike, as most are. Django's bulk_update() takes ten times as long."""
    alike: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for message in messages:
        alike[message.status, message.route, message.list_version, *message.notes].append(message.pk)
    for (status, route, list_version, *notes), ids in alike.items():
        Message.objects.filter(pk__in=ids).update(status=status, route=route, list_version=list_version, notes=notes)
