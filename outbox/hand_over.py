"""`queued → sending`: the short transaction in which mails are taken for the wire.

It locks the test lists' rows, looks at each route once more, and marks the mails. After its commit a mail may reach
exactly the addresses returned; before it, none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from organization.addresses import NamedAddress, same_address_key
from organization.models import App, Stage
from outbox.claims import LONGEST_PAUSE, Claimed, owned
from outbox.clock import database_now
from outbox.models import WAITING, Message, Recipient, RouteKind, Status
from outbox.outcomes import hold, sum_up
from outbox.routing import Decided, Route, route_again
from outbox.submission import search_text, state_of
from testlists.models import TestList
from testlists.services import lock_for_hand_over

CAUGHT = "The test list became Active after the mail was accepted, so it goes to the people on the list instead."


@dataclass(frozen=True)
class HandOver:
    """What may be sent now: the mail and the recipients whose turn it is.

    `test_people` are those its header may name when it is test mail; None when it goes to real recipients.
    `complete`: the mail has no other recipients, done or waiting.
    """

    message: Message
    owner: str
    app: App
    stage: Stage
    recipients: Sequence[Recipient]
    test_people: Sequence[NamedAddress] | None
    tag_subject: bool
    complete: bool


def hand_over(claimed: Sequence[Claimed], owner: str) -> list[HandOver]:
    """Take claimed mails for the wire, in their order. Left out: what isn't ours any more, is held now, or isn't due."""
    if not claimed:
        return []
    with transaction.atomic(savepoint=False):
        # The lists first: whoever activates one locks it before it touches any mail.
        test_lists = {place: lock_for_hand_over(*place) for place in sorted({one.place for one in claimed})}
        now = database_now()
        ours = owned([owner], now, *WAITING).filter(pk__in=[one.message_id for one in claimed])
        messages = list(ours.select_for_update().defer("search_text", "requested").order_by("due", "pk"))
        everybody = _recipients(messages)
        taken = []
        for message in messages:
            test_list = test_lists[message.app_id, message.stage_id]
            if found := _take(message, everybody[message.pk], test_list, now):
                taken.append(found)
        _mark(taken)
    return taken


def _recipients(messages: Sequence[Message]) -> dict[int, list[Recipient]]:
    found: dict[int, list[Recipient]] = defaultdict(list)
    for recipient in Recipient.objects.filter(message__in=[message.pk for message in messages]):
        found[recipient.message_id].append(recipient)
    return found


def _take(message: Message, recipients: list[Recipient], test_list: TestList, now: datetime) -> HandOver | None:
    unfinished = [recipient for recipient in recipients if recipient.status in WAITING]
    if test_list.active_version or not unfinished:
        unfinished = _route_once_more(message, test_list, unfinished)
        recipients = list(message.recipients.all())
    due = [recipient for recipient in unfinished if recipient.due <= now or recipient.due > now + LONGEST_PAUSE]
    if not due:
        if not message.hold_reason:
            sum_up(message)
        return None
    complete = due == recipients
    people = _test_people(message, test_list, unfinished)
    return HandOver(message, message.owner, test_list.app, test_list.stage, due, people, test_list.tag_subject, complete)


def _mark(taken: Sequence[HandOver]) -> None:
    """From here on they count as on the wire."""
    Recipient.objects.filter(pk__in=[one.pk for found in taken for one in found.recipients]).update(status=Status.SENDING)
    Message.objects.filter(pk__in=[found.message.pk for found in taken]).update(status=Status.SENDING)


def _test_people(message: Message, test_list: TestList, unfinished: list[Recipient]) -> list[NamedAddress] | None:
    """Never all the mail's recipients: one that was caught half-way may have real ones that are done already."""
    if message.route != RouteKind.TEST_LIST:
        return None
    if test_list.active:
        return test_list.people()
    return [NamedAddress(recipient.address, recipient.name) for recipient in unfinished]


def _route_once_more(message: Message, test_list: TestList, unfinished: list[Recipient]) -> list[Recipient]:
    """Whom the mail is still to reach after a second look at the list; nobody when it has to be held."""
    decided = Decided(RouteKind(message.route), message.list_version, bool(unfinished))
    again = route_again(decided, message.requested, state_of(test_list))
    if again is None:
        return unfinished
    message.list_version = test_list.version
    unfinished = _follow(message, unfinished, again)
    if again.hold_reason:
        hold(message, again.hold_reason)
    return unfinished


def _follow(message: Message, unfinished: list[Recipient], again: Route) -> list[Recipient]:
    """Bring the unfinished recipients in line with `again`. Who was sent to stays on record as sent."""
    wanted = {same_address_key(person.email): person for person in again.people}
    leaving = [recipient.pk for recipient in unfinished if same_address_key(recipient.address) not in wanted]
    Recipient.objects.filter(pk__in=leaving).delete()
    known = {same_address_key(address) for address in message.recipients.values_list("address", flat=True)}
    Recipient.objects.bulk_create(
        Recipient(message=message, address=person.email, name=person.name, due=message.due)
        for key, person in wanted.items()
        if key not in known
    )
    if message.route != again.kind:
        message.route = again.kind
        message.notes = [*message.notes, CAUGHT]
    message.search_text = search_text(*message.search_text.split("\n"), *(person.email for person in again.people))
    message.save(update_fields=["route", "list_version", "notes", "search_text"])
    return list(message.recipients.filter(status__in=WAITING))
