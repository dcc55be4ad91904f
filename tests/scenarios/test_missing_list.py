"""A test list whose row is missing: nobody knows whether it was Active, so mail is held, and a person saves the list again."""

from __future__ import annotations

import pytest

from delivery.worker import sweep
from outbox.actions import release_held, resend
from outbox.models import HoldReason, Message, RouteKind, Status
from testlists.services import test_list_of as list_of
from tests.support.outbox import deliver, send, set_list, statuses
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

MISSING = (Status.HELD, HoldReason.TEST_LIST_MISSING)
EMPTY = (Status.HELD, HoldReason.TEST_LIST_EMPTY)


@pytest.fixture
def server(qa):
    with SmtpServer(pipelining=True) as running:
        configure(qa, running)
        yield running


def state(message: Message) -> tuple[str, str]:
    return Message.objects.values_list("status", "hold_reason").get(pk=message.pk)


@pytest.fixture
def held(crm, qa, server) -> Message:
    """A mail that was accepted while the list was missing."""
    list_of(crm, qa).delete()
    return send(crm, qa, "customer@example.com")


def test_mail_is_held_at_acceptance(held, server):
    assert (*MISSING, statuses(held)) == (held.status, held.hold_reason, {})
    sweep()
    deliver()
    assert (state(held), server.arrived) == (MISSING, [])


@pytest.mark.parametrize("active", [True, False])
def test_saving_the_list_with_a_person_on_it_sends_them_what_was_held(held, server, crm, qa, active):
    set_list(crm, qa, "ana@acme.example", active=active)
    deliver()
    assert server.recipients == {"ana@acme.example"}


def test_saving_an_empty_list_frees_nothing(held, server, crm, qa):
    set_list(crm, qa, active=False)
    deliver()
    assert (state(held), server.arrived) == (EMPTY, [])


def test_the_worker_releases_what_was_accepted_in_the_moment_of_the_save(held, server, crm, qa):
    set_list(crm, qa, "ana@acme.example")
    Message.objects.update(status=Status.HELD, hold_reason=HoldReason.TEST_LIST_MISSING)
    held.recipients.all().delete()
    sweep()
    deliver()
    assert server.recipients == {"ana@acme.example"}


@pytest.mark.parametrize("active", [True, False])
def test_mail_is_held_at_hand_over(server, crm, qa, active):
    """Accepted under a list that was Active or Inactive, and lost since."""
    set_list(crm, qa, "ana@acme.example", active=active)
    message = send(crm, qa, "customer@example.com")
    list_of(crm, qa).delete()
    deliver()
    assert (state(message), server.arrived) == (MISSING, [])
    set_list(crm, qa, "ben@acme.example", active=False)
    deliver()
    assert server.recipients == {"ben@acme.example"}


def test_a_list_that_was_deleted_and_made_again_meanwhile_counts_as_one_that_was_active(server, crm, qa):
    set_list(crm, qa, "ana@acme.example", active=False)
    set_list(crm, qa, "ana@acme.example", active=False)
    send(crm, qa, "customer@example.com")
    list_of(crm, qa).delete()
    set_list(crm, qa, "ana@acme.example", active=False)
    deliver()
    assert server.recipients == {"ana@acme.example"}


def test_a_person_may_release_it_to_the_real_recipients(held, server):
    release_held(held, OPERATOR)
    deliver()
    assert server.recipients == {"customer@example.com"}


def test_resending_without_a_list_is_held_too(server, crm, qa):
    message = send(crm, qa, "customer@example.com")
    deliver()
    server.arrived.clear()
    list_of(crm, qa).delete()
    again = resend(message, OPERATOR)
    deliver()
    assert (state(again), again.route, server.arrived) == (MISSING, RouteKind.TEST_LIST, [])


def test_every_page_says_so_and_none_makes_the_list(held, as_administrator, crm, qa):
    pages = ["", "edit/", "route/", "route/?to=c@example.com"]
    for page in pages:
        text = as_administrator.get(f"/apps/crm/configuration/emails/qa/{page}").content.decode()
        assert "missing" in text, page
    assert "1 email of Customer Relations in QA held" in as_administrator.get("/").content.decode()
    assert "Release to real recipients" in as_administrator.get(f"/monitor/email-log/qa/{held.pk}/").content.decode()
    assert list_of(crm, qa).is_missing
    data = {"version": 0, "add": "ana@acme.example", "active": "on"}
    assert as_administrator.post("/apps/crm/configuration/emails/qa/edit/", data).status_code == 302
    assert list_of(crm, qa).active
