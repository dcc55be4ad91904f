"""`queued → sending`: the short transaction in which a mail is taken for the wire.

It locks the test list's row, looks at the route once more, and marks the mail. After its commit the mail may reach
exactly the addresses returned; before it, none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from organization.addresses import NamedAddress, same_address_key
from outbox.claims import LONGEST_PAUSE, owned
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
    """

    message: Message
    recipients: Sequence[Recipient]
    test_people: Sequence[NamedAddress] | None
    tag_subject: bool


def hand_over(message_id: int, owner: str) -> HandOver | None:
    """Take one claimed mail for the wire. None: it isn't ours any more, or it is held now, or nobody's turn has come."""
    with transaction.atomic():
        now = database_now()
        ours = owned(owner, now, *WAITING).filter(pk=message_id)
        message = ours.select_for_update(of=("self",)).select_related("app", "stage").first()
        if message is None:
            return None
        test_list = lock_for_hand_over(message.app_id, message.stage_id)
        unfinished = _route_once_more(message, test_list)
        due = [recipient for recipient in unfinished if recipient.due <= now or recipient.due > now + LONGEST_PAUSE]
        if not due:
            if not message.hold_reason:
                sum_up(message)
            return None
        Recipient.objects.filter(pk__in=[recipient.pk for recipient in due]).update(status=Status.SENDING)
        Message.objects.filter(pk=message.pk).update(status=Status.SENDING)
        test_people = _test_people(message, test_list, unfinished)
    return HandOver(message, due, test_people, test_list.tag_subject)


def _test_people(message: Message, test_list: TestList, unfinished: list[Recipient]) -> list[NamedAddress] | None:
    """Never all the mail's recipients: one that was caught half-way may have real ones that are done already."""
    if message.route != RouteKind.TEST_LIST:
        return None
    if test_list.active:
        return test_list.people()
    return [NamedAddress(recipient.address, recipient.name) for recipient in unfinished]


def _route_once_more(message: Message, test_list: TestList) -> list[Recipient]:
    """Whom the mail is still to reach after a second look at the list; nobody when it has to be held."""
    unfinished = list(message.recipients.filter(status__in=WAITING))
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
        Recipient(message=message, address=person.email, name=person.name) for key, person in wanted.items() if key not in known
    )
    if message.route != again.kind:
        message.route = again.kind
        message.notes = [*message.notes, CAUGHT]
    message.search_text = search_text(*message.search_text.split("\n"), *(person.email for person in again.people))
    message.save(update_fields=["route", "list_version", "notes", "search_text"])
    return list(message.recipients.filter(status__in=WAITING))
