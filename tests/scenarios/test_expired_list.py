"""An activation with an end: a clock may close a stage, and never opens one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from common.addresses import NamedAddress
from common.clock import database_now
from organization.access import Scope
from organization.models import App, Stage
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.holding.held_mail import Choice, answer, held_mail
from outbox.models import HoldReason, Message
from outbox.states import release_what_waits
from testlists.models import TestList
from testlists.services import ListChange, save_test_list, test_list_of
from tests.support.outbox import deliver, send, set_list
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer
from tests.support.testlists import time_goes_by

pytestmark = pytest.mark.django_db(transaction=True)
TESS = NamedAddress("tess@acme.example")


def activate(app: App, stage: Stage, hours: float = 1) -> TestList:
    change = ListChange(True, False, [], [TESS], database_now() + timedelta(hours=hours))
    return save_test_list(app, stage, change, OPERATOR)


def state_of_only_message() -> tuple[str, str]:
    message = Message.objects.get()
    return message.status, message.hold_reason


def titles(client: Client) -> list[str]:
    """What Home says about held emails."""
    return [notice.title for notice in client.get("/").context["waiting"] if "held" in notice.title]


HELD = ("held", HoldReason.LIST_EXPIRED)


@pytest.fixture
def server(qa: Stage, production: Stage) -> SmtpServer:
    with SmtpServer() as server:
        configure(qa, server, from_domains="*")
        configure(production, server, from_domains="*")
        yield server


@pytest.mark.parametrize("sent_before_the_end", [True, False])
def test_the_apps_email_is_held_from_then_on_and_an_extension_sends_it_to_the_list(crm, qa, server, sent_before_the_end):
    activate(crm, qa)
    if sent_before_the_end:
        send(crm, qa)
        time_goes_by(crm, qa)
    else:
        time_goes_by(crm, qa)
        send(crm, qa)
        assert state_of_only_message() == HELD
    deliver()
    assert state_of_only_message() == HELD
    release_what_waits()
    assert state_of_only_message() == HELD
    activate(crm, qa)
    deliver()
    assert server.recipients == {"tess@acme.example"}
    assert Message.objects.get().status == "sent"


def test_what_waited_for_a_person_asks_after_a_deactivation_and_isnt_freed_by_it(as_administrator, crm, qa, server):
    activate(crm, qa)
    time_goes_by(crm, qa)
    send(crm, qa, "customer@example.com", "other@example.com")
    assert not held_mail(Scope(stage=qa))  # the list's page asks: extend, or deactivate?
    set_list(crm, qa, "tess@acme.example", active=False)
    release_what_waits()
    deliver()
    assert state_of_only_message() == HELD
    assert server.recipients == set()
    question = held_mail(Scope(crm, qa))
    assert (question.depth.messages, question.outside) == (1, {"customer@example.com", "other@example.com"})
    assert titles(as_administrator) == ["1 email of QA held: deliver, keep or discard?"]
    send(crm, qa, "new@example.com")
    deliver()
    assert server.recipients == {"new@example.com"}


@pytest.mark.parametrize(
    ("meanwhile", "gets_it"),
    [
        ("nothing", {"customer@example.com"}),
        ("the list was Active", {"tess@acme.example"}),
        ("the stage was closed", set()),
    ],
)
def test_when_it_is_delivered_it_is_routed_again(crm, qa, server, meanwhile, gets_it):
    activate(crm, qa)
    time_goes_by(crm, qa)
    send(crm, qa, "customer@example.com")
    set_list(crm, qa, "tess@acme.example", active=False)
    if meanwhile == "the list was Active":
        activate(crm, qa)
        set_list(crm, qa, "tess@acme.example", active=False)
    elif meanwhile == "the stage was closed":
        change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    answer(Scope(stage=qa), Choice.DELIVER, OPERATOR)
    deliver()
    assert server.recipients == gets_it
    assert state_of_only_message()[0] == ("sent" if gets_it else "captured")


def test_it_is_kept_and_discarded_like_any_other_held_email(crm, qa, server):
    activate(crm, qa)
    time_goes_by(crm, qa)
    send(crm, qa)
    set_list(crm, qa, "tess@acme.example", active=False)
    answer(Scope(crm, qa), Choice.KEEP, OPERATOR)
    assert held_mail(Scope(stage=qa)).kept
    answer(Scope(stage=qa), Choice.DISCARD, OPERATOR)
    assert state_of_only_message() == ("failed", "")


@pytest.mark.parametrize("accepted", ["before the activation", "while it was Active"])
def test_test_mail_that_waited_goes_to_the_list_after_a_deactivation(crm, qa, server, accepted):
    if accepted == "before the activation":
        send(crm, qa)
    activate(crm, qa)
    if accepted == "while it was Active":
        send(crm, qa)
    time_goes_by(crm, qa)
    deliver()
    assert state_of_only_message() == HELD
    set_list(crm, qa, "tess@acme.example", active=False)
    assert not held_mail(Scope(stage=qa))
    deliver()
    assert server.recipients == {"tess@acme.example"}


def test_a_policy_that_becomes_narrower_asks_too(crm, qa, server):
    activate(crm, qa)
    time_goes_by(crm, qa)
    send(crm, qa)
    change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    release_what_waits()
    assert held_mail(Scope(stage=qa))


def test_what_was_queued_for_real_people_before_the_activation_is_held_too(crm, qa, server):
    send(crm, qa)
    activate(crm, qa)
    time_goes_by(crm, qa)
    deliver()
    assert state_of_only_message() == HELD
    assert "had expired" in Message.objects.get().notes[0]


def test_in_production_the_list_is_inactive_from_then_on(crm, production, server):
    activate(crm, production)
    send(crm, production, "queued@example.com")
    time_goes_by(crm, production)
    send(crm, production, "customer@example.com")
    deliver()
    assert server.recipients == {"tess@acme.example", "customer@example.com"}


def test_under_a_closed_policy_it_is_captured_as_for_an_inactive_list(crm, qa, server):
    change_policy(qa, RecipientPolicy.LISTED_ONLY, OPERATOR)
    activate(crm, qa)
    time_goes_by(crm, qa)
    send(crm, qa)
    assert state_of_only_message() == ("captured", "")


@pytest.mark.parametrize("hours", [-1, 0, 24 * 367])
def test_an_end_is_in_the_future_and_within_a_year(crm, qa, hours):
    with pytest.raises(ValidationError) as refused:
        activate(crm, qa, hours)
    assert "active_until" in refused.value.message_dict
    assert not test_list_of(crm, qa).active


def test_an_inactive_list_has_no_end(crm, qa):
    activate(crm, qa)
    change = ListChange(False, False, [], [TESS], database_now() + timedelta(hours=1))
    assert save_test_list(crm, qa, change, OPERATOR).active_until is None
