"""Email that a narrower policy lets nobody get is captured before the stage's server is contacted for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from common.clock import database_now
from delivery.models import StageBackoff
from delivery.worker import Worker, sweep
from emailconfig.models import SmtpSettings
from organization.models import App, Stage
from organization.recipient_policy.changes import allow, change_policy, disallow
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message, RouteKind, Status
from tests.support.outbox import deliver, send, set_list, statuses, take
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
CUSTOMER, DAN, TESS = "customer@example.com", "dan@allowed.example", "tess@acme.example"


@pytest.fixture
def server(qa: Stage) -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        configure(qa, server, from_domains="*")
        yield server


def deliver_without_sweep() -> None:
    """As a process of Celery's delivers: its sweep is another process's."""
    Worker("celery@host").drain()


def put(stage: Stage, policy: RecipientPolicy, **options: object) -> None:
    change_policy(stage, policy, OPERATOR, typed_stage_name=stage.name, **options)  # type: ignore[arg-type]


def stored(message: Message) -> Message:
    return Message.objects.get(pk=message.pk)


def the_stage_captures_everything(stage: Stage) -> None:
    put(stage, NOBODY)


def the_stage_is_closed(stage: Stage) -> None:
    put(stage, LISTED)


def it_was_narrower_for_a_moment(stage: Stage) -> None:
    put(stage, NOBODY)
    put(stage, OPEN)


def the_wide_policy_ends(stage: Stage) -> None:
    Stage.objects.update(recipient_policy=OPEN, policy_afterwards=NOBODY, policy_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize(
    "narrowing", [the_stage_captures_everything, the_stage_is_closed, it_was_narrower_for_a_moment, the_wide_policy_ends]
)
def test_the_server_hears_nothing_of_what_a_narrower_policy_captures(crm, qa, server, narrowing: Callable[[Stage], None]):
    put(qa, LISTED)
    put(qa, OPEN)
    emails = [send(crm, qa, CUSTOMER, f"customer{number}@example.com") for number in range(3)]
    narrowing(qa)
    deliver_without_sweep()
    assert server.connections == 0
    assert [stored(message).status for message in emails] == [Status.CAPTURED] * 3
    assert statuses(emails[0]) == {CUSTOMER: Status.CAPTURED, "customer0@example.com": Status.CAPTURED}
    assert stored(emails[0]).route == RouteKind.CAPTURED
    assert "became narrower" in stored(emails[0]).notes[0]


def test_nor_of_an_email_to_an_address_that_isnt_allowed_any_more(crm, qa, server):
    put(qa, LISTED)
    allow(qa, [DAN], OPERATOR, typed_stage_name=qa.name)
    message = send(crm, qa, DAN)
    disallow(qa, DAN, OPERATOR)
    deliver_without_sweep()
    assert server.connections == 0
    assert statuses(message) == {DAN: Status.CAPTURED}


def test_test_mail_on_its_way_is_captured_for_those_whom_the_app_named(crm, qa, server):
    set_list(crm, qa, TESS)
    message = send(crm, qa, CUSTOMER)
    put(qa, NOBODY)
    deliver()
    assert server.connections == 0
    assert statuses(message) == {CUSTOMER: Status.CAPTURED}


def test_an_email_is_sent_to_recipients_who_are_still_allowed(crm, qa, server):
    allow(qa, [DAN], OPERATOR, typed_stage_name=qa.name)
    both, other = send(crm, qa, CUSTOMER, DAN), send(crm, qa, CUSTOMER)
    put(qa, LISTED)
    deliver()
    assert server.recipients == {DAN}
    assert statuses(both) == {CUSTOMER: Status.CAPTURED, DAN: Status.SENT}
    assert stored(other).status == Status.CAPTURED


def test_what_is_accepted_after_the_stage_was_opened_again_leaves(crm, qa, server):
    put(qa, NOBODY)
    put(qa, OPEN)
    send(crm, qa, CUSTOMER)
    deliver()
    assert server.recipients == {CUSTOMER}


def test_a_recipient_who_was_refused_before_stays_refused(crm, qa, server):
    server.rcpt = lambda address: "550 no" if address == CUSTOMER else "450 later"
    message = send(crm, qa, CUSTOMER, DAN)
    deliver()
    put(qa, NOBODY)
    sweep()
    assert statuses(message) == {CUSTOMER: Status.FAILED, DAN: Status.CAPTURED}
    assert stored(message).status == Status.FAILED


def test_what_is_on_the_wire_is_left_to_its_connection(crm, qa, server):
    message = send(crm, qa, CUSTOMER)
    take(qa, 1)
    put(qa, NOBODY)
    sweep()
    assert stored(message).status == Status.SENDING


def in_trouble(qa: Stage, server: SmtpServer) -> None:
    """The worker waits for an hour until it tries the server again."""
    later = database_now() + timedelta(hours=1)
    StageBackoff.objects.update_or_create(
        stage=qa, defaults={"failures": 3, "since": database_now(), "retry_at": later, "code": "refused"}
    )


def not_configured(qa: Stage, server: SmtpServer) -> None:
    SmtpSettings.objects.all().delete()


@pytest.mark.parametrize("trouble", [in_trouble, not_configured])
def test_it_is_captured_on_a_stage_that_cant_send_at_all(crm: App, qa, server, trouble: Callable[[Stage, SmtpServer], None]):
    message = send(crm, qa, CUSTOMER)
    trouble(qa, server)
    put(qa, NOBODY)
    sweep()
    deliver()
    assert stored(message).status == Status.CAPTURED
    assert server.connections == 0
