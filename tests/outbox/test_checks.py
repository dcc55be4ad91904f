"""What the database itself says about messages: a program with a mistake is refused, not believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction

from organization.models import App, Stage
from outbox.models import Attempt, HoldReason, Message, Recipient, Status
from tests.support.outbox import send


@pytest.mark.parametrize(
    ("values", "check"),
    [
        ({"status": "lost"}, "message_status"),
        ({"route": "anywhere"}, "message_route"),
        ({"status": Status.SENDING}, "message_sending_has_owner"),
        ({"status": Status.HELD}, "message_held_has_reason"),
        ({"hold_reason": HoldReason.TEST_LIST_EMPTY}, "message_held_has_reason"),
    ],
)
def test_a_message_is_in_a_state_that_exists(crm: App, qa: Stage, configured: Any, values: dict[str, str], check: str) -> None:
    refused(check, lambda: Message.objects.filter(pk=send(crm, qa).pk).update(**values))


def test_a_recipient_and_an_attempt_are_in_a_state_that_exists(crm: App, qa: Stage, configured: Any) -> None:
    message = send(crm, qa)
    refused("recipient_status", lambda: message.recipients.update(status="lost"))
    refused("tries", lambda: message.recipients.update(tries=-1))
    refused("attempt_outcome", lambda: Attempt.objects.create(message=message, address="a@example.com", outcome="lost"))


def refused(check: str, write: Callable[[], object]) -> None:
    with pytest.raises(IntegrityError, match=check), transaction.atomic():
        write()


@pytest.mark.django_db(transaction=True)
def test_a_database_from_before_comes_along_repaired(crm: App, qa: Stage, configured: Any) -> None:
    queued, sending, held, freed, newest = [send(crm, qa).pk for _ in range(5)]
    Message.objects.filter(pk=newest).delete()
    call_command("migrate", "outbox", "0012", verbosity=0)
    try:
        Message.objects.filter(pk=sending).update(status=Status.SENDING)
        Message.objects.filter(pk=held).update(status=Status.HELD)
        Message.objects.filter(pk=freed).update(hold_reason=HoldReason.TEST_LIST_EMPTY)
    finally:
        call_command("migrate", verbosity=0)
    assert list(Message.objects.order_by("pk").values_list("pk", "status", "owner", "hold_reason")) == [
        (queued, Status.QUEUED, "", ""),
        (sending, Status.SENDING, "unknown", ""),
        (held, Status.HELD, "", HoldReason.STAGE_NOT_CONFIGURED),
        (freed, Status.QUEUED, "", ""),
    ]
    assert Recipient.objects.count() == 4
    assert send(crm, qa).pk > newest  # a number that was removed is never given again
