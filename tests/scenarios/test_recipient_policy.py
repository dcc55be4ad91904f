"""Who gets email from a stage with a recipient policy, end to end: what the stage's server really receives."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from common.clock import database_now
from delivery.values import Outcome
from emailconfig.models import SmtpSettings
from organization.models import AuditEvent, Role, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import allow, change_policy, disallow, emails_leaving
from organization.recipient_policy.policy import RecipientPolicy
from outbox.actions import release_held, resend, resend_to_real_recipients, send_to_me, send_to_test_list
from outbox.models import Attempt, Message, RouteKind, Rule, Status
from testlists.models import TestListAddress
from tests.support.header_judge import strays
from tests.support.outbox import deliver, report, send, set_list, statuses, take
from tests.support.portal import OPERATOR, configure, make_member
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
    (claimed,) = take(qa, 1)
    change_policy(qa, policy, OPERATOR)
    assert emails_leaving(qa) == leaving
    report(claimed, Outcome(claimed.recipients[0], Attempt.Outcome.SENT, "data", 250, "Ok"))
    assert emails_leaving(qa) == 0


def test_captured_email_needs_no_server(crm, production, smtp_server):
    put(production, NOBODY)
    assert send(crm, production, CUSTOMER).status == Status.CAPTURED


# A person forwards captured mail


@pytest.mark.parametrize("policy", [NOBODY, LISTED])
def test_captured_mail_reaches_the_list_or_oneself_alone_when_a_person_sends_it(crm, qa, smtp_server, administrator, policy):
    put(qa, policy)
    set_list(crm, qa, TESS, active=False)
    message = send(crm, qa, CUSTOMER, DAN)
    to_list, to_me = send_to_test_list(message, administrator), send_to_me(message, administrator)
    put(qa, OPEN)
    set_list(crm, qa, "other@acme.example")
    change_policy(qa, policy, OPERATOR)
    deliver()
    assert reached(smtp_server) == sorted([administrator.email, TESS])
    for arrived in smtp_server.arrived:
        assert strays(arrived.mail, [*arrived.recipients, "crm@acme.example"], "no-reply@acme.example") == []
    for forwarded in (stored(to_list), stored(to_me)):
        assert (forwarded.status, forwarded.route, forwarded.resent_from) == (Status.SENT, RouteKind.FORWARDED, message.pk)
        assert set(rules(forwarded).values()) == {Rule.FORWARDED}
    assert stored(message).status == Status.CAPTURED
    events = AuditEvent.objects.filter(entity="message", entity_id=str(message.pk)).values_list("operation", "after__recipients")
    assert {(operation, *addresses) for operation, addresses in events} == {
        ("Forward to test list", TESS),
        ("Forward to oneself", administrator.email),
    }


def test_what_cant_be_forwarded_says_why(crm, qa, administrator, viewer):
    open_message = send(crm, qa, CUSTOMER)
    put(qa, NOBODY)
    message = send(crm, qa, CUSTOMER)
    with pytest.raises(ValidationError, match="isn't captured"):
        send_to_me(open_message, administrator)
    with pytest.raises(ValidationError, match="Nobody is on the test list"):
        send_to_test_list(message, administrator)
    for send_as in (send_to_me, send_to_test_list):
        with pytest.raises(PermissionDenied):
            send_as(message, viewer)
    resender = Role.objects.create(name="Resender", permissions=[Permission.RESEND_MAIL.value])
    with pytest.raises(PermissionDenied):  # it would show them what the email says
        send_to_me(message, make_member("Rita", resender))
    SmtpSettings.objects.all().delete()
    with pytest.raises(ValidationError, match="no SMTP settings"):
        send_to_me(message, administrator)
    assert Message.objects.count() == 2


def test_captured_mail_is_resent_to_real_recipients_only_where_the_stage_isnt_closed_to_all(crm, qa, smtp_server, administrator):
    put(qa, NOBODY)
    message = send(crm, qa, CUSTOMER)
    with pytest.raises(ValidationError, match="captures all email"):
        resend_to_real_recipients(message, administrator)
    put(qa, OPEN)
    resend(message, administrator)
    deliver()
    assert reached(smtp_server) == []
    resend_to_real_recipients(stored(message), administrator)
    deliver()
    assert reached(smtp_server) == [CUSTOMER]


def test_a_person_releases_held_mail_under_the_policy_as_it_is_then(crm, qa, smtp_server):
    set_list(crm, qa, TESS)
    TestListAddress.objects.all().delete()  # as no entry point lets it be: nobody is on the Active list
    message = send(crm, qa, CUSTOMER)
    put(qa, NOBODY)
    with pytest.raises(ValidationError, match="QA captures all email"):
        release_held(message, OPERATOR)
    put(qa, OPEN)
    release_held(message, OPERATOR)
    assert rules(message) == {CUSTOMER: Rule.RELEASED}
    deliver()
    assert reached(smtp_server) == [CUSTOMER]
