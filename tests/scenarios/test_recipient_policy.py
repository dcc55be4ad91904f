"""Who gets email from a stage with a recipient policy, end to end: what the stage's server really receives."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common.clock import database_now
from delivery.values import Outcome
from organization.models import Stage
from organization.recipient_policy.changes import allow, change_policy, disallow, emails_leaving
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Attempt, Message, RouteKind, Rule, Status
from tests.support.header_judge import strays
from tests.support.outbox import deliver, report, send, set_list, statuses, take
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY
CUSTOMER, DAN, TESS = "customer@example.com", "dan@allowed.example", "tess@acme.example"


@pytest.fixture
def smtp_server():
    with SmtpServer(pipelining=True) as server:
        yield server


@pytest.fixture(autouse=True)
def _configured(qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")


def put(stage: Stage, policy: RecipientPolicy, **options) -> None:
    change_policy(stage, policy, OPERATOR, typed_stage_name=stage.name, **options)


def allow_all(stage: Stage, *patterns: str, **options) -> None:
    allow(stage, patterns, OPERATOR, typed_stage_name=stage.name, **options)


def reached(server: SmtpServer) -> list[str]:
    return sorted(address for arrived in server.arrived for address in arrived.recipients)


def stored(message: Message) -> Message:
    return Message.objects.get(pk=message.pk)


def rules(message: Message) -> dict[str, str]:
    return dict(message.recipients.values_list("address", "rule"))


def test_a_stage_that_captures_everything_sends_nothing_whatever_the_list_says(crm, qa, smtp_server):
    put(qa, NOBODY)
    allow_all(qa, DAN)
    set_list(crm, qa, TESS)
    message = send(crm, qa, CUSTOMER, DAN)
    deliver()
    assert reached(smtp_server) == []
    assert (message.status, message.route) == (Status.CAPTURED, RouteKind.CAPTURED)
    assert statuses(message) == {CUSTOMER: Status.CAPTURED, DAN: Status.CAPTURED}
    assert rules(message) == {CUSTOMER: Rule.CAPTURED, DAN: Rule.CAPTURED}


def test_a_closed_stage_sends_to_allowed_addresses_and_captures_the_others(crm, qa, smtp_server):
    put(qa, LISTED)
    allow_all(qa, "allowed.example")
    message = send(crm, qa, CUSTOMER, DAN)
    deliver()
    assert reached(smtp_server) == [DAN]
    assert stored(message).status == Status.CAPTURED
    assert statuses(message) == {CUSTOMER: Status.CAPTURED, DAN: Status.SENT}
    (arrived,) = smtp_server.arrived
    assert strays(arrived.mail, [DAN, "crm@acme.example"], "no-reply@acme.example") == []


def test_beside_an_active_list_the_allowed_among_the_recipients_get_its_copy(crm, qa, smtp_server):
    put(qa, LISTED)
    allow_all(qa, DAN)
    set_list(crm, qa, TESS)
    message = send(crm, qa, CUSTOMER, DAN)
    deliver()
    assert reached(smtp_server) == [DAN, TESS]
    assert rules(message) == {TESS: Rule.TEST_LIST, DAN: Rule.ALLOWED}
    assert stored(message).status == Status.SENT


def test_an_email_to_allowed_addresses_alone_goes_to_them_past_an_active_list(crm, qa, smtp_server):
    allow_all(qa, DAN)
    set_list(crm, qa, TESS)
    message = send(crm, qa, DAN)
    deliver()
    assert reached(smtp_server) == [DAN]
    assert (stored(message).status, stored(message).route) == (Status.SENT, RouteKind.ALLOWED)


@pytest.mark.parametrize("policy", [LISTED, NOBODY])
def test_a_narrower_policy_catches_what_is_queued_and_widening_frees_nothing(crm, qa, smtp_server, policy):
    message = send(crm, qa, CUSTOMER)
    change_policy(qa, policy, OPERATOR)
    put(qa, OPEN)
    later = send(crm, qa, "later@example.com")
    deliver()
    assert reached(smtp_server) == ["later@example.com"]
    assert stored(message).status == Status.CAPTURED
    assert stored(later).status == Status.SENT
    assert any("narrower" in note for note in stored(message).notes)


def test_test_mail_on_its_way_is_captured_for_those_whom_the_app_named(crm, qa, smtp_server):
    set_list(crm, qa, TESS)
    message = send(crm, qa, CUSTOMER)
    change_policy(qa, NOBODY, OPERATOR)
    deliver()
    assert reached(smtp_server) == []
    assert statuses(message) == {CUSTOMER: Status.CAPTURED}


def test_an_address_that_is_no_longer_allowed_gets_nothing_that_is_queued(crm, qa, smtp_server):
    put(qa, LISTED)
    allow_all(qa, DAN)
    message = send(crm, qa, DAN)
    disallow(qa, DAN, OPERATOR)
    deliver()
    assert reached(smtp_server) == []
    assert statuses(message) == {DAN: Status.CAPTURED}


def test_an_address_that_is_allowed_later_gets_nothing_from_before(crm, qa, smtp_server):
    put(qa, LISTED)
    allow_all(qa, TESS)
    set_list(crm, qa, TESS, active=False)
    message = send(crm, qa, TESS, DAN)
    allow_all(qa, DAN)
    deliver()
    assert reached(smtp_server) == [TESS]
    assert statuses(message) == {TESS: Status.SENT, DAN: Status.CAPTURED}


def test_a_wider_policy_that_has_ended_is_narrow_at_hand_over(crm, qa, smtp_server):
    put(qa, LISTED)
    put(qa, OPEN, until=database_now() + timedelta(hours=1))
    message = send(crm, qa, CUSTOMER)
    Stage.objects.filter(pk=qa.pk).update(policy_until=database_now() - timedelta(seconds=1))
    deliver()
    assert reached(smtp_server) == []
    assert stored(message).status == Status.CAPTURED


@pytest.mark.parametrize(
    ("policy", "list_active", "leaving"), [(NOBODY, True, 1), (NOBODY, False, 1), (LISTED, True, 0), (LISTED, False, 1)]
)
def test_what_is_on_the_wire_to_others_is_counted_until_it_is_over(crm, qa, policy, list_active, leaving):
    set_list(crm, qa, TESS, active=list_active)
    send(crm, qa, CUSTOMER)
    (claimed,) = take(qa, 1, "worker")
    change_policy(qa, policy, OPERATOR)
    assert emails_leaving(qa) == leaving
    report(claimed, Outcome(claimed.recipients[0], Attempt.Outcome.SENT, "data", 250, "Ok"))
    assert emails_leaving(qa) == 0


def test_captured_email_needs_no_server(crm, production, smtp_server):
    put(production, NOBODY)
    assert send(crm, production, CUSTOMER).status == Status.CAPTURED
