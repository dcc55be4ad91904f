"""Which claimed messages leave as they are, and what a batch costs."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import event, given
from hypothesis import strategies as st

from common.addresses import NamedAddress
from delivery.batches import Batches, StageClaim
from delivery.claims.claim import Recipients, route_still_holds
from delivery.config import DeliveryConfig
from delivery.statements import DueMessage
from delivery.values import DueRecipient, MessageResult, Outcome
from organization.models import App, Stage
from organization.recipient_policy.policy import AllowedPattern, PolicyState, RecipientPolicy
from outbox.models import Attempt, Message, RouteKind, Rule, Status
from outbox.routing import StoredRoute, route_again
from testlists.state import ListState
from tests.support.outbox import send, set_list
from tests.support.portal import configure

REAL, TESTER, DAN = "customer@example.com", "tess@acme.example", "dan@allowed.example"
VERSIONS = st.integers(0, 3)
# Whom a message of each route waits for.
WAITING_FOR = {
    RouteKind.RECIPIENTS: {REAL: Rule.AS_APPS_ASK, DAN: Rule.AS_APPS_ASK},
    RouteKind.TEST_LIST: {TESTER: Rule.TEST_LIST, DAN: Rule.ALLOWED},
    RouteKind.ALLOWED: {DAN: Rule.ALLOWED},
    RouteKind.RELEASED: {REAL: Rule.RELEASED},
    RouteKind.FORWARDED: {TESTER: Rule.FORWARDED},
}


@st.composite
def lists(draw: st.DrawFn) -> ListState:
    version, is_on = draw(VERSIONS), draw(st.booleans())
    is_expired = is_on and draw(st.booleans())
    active_version = version if is_on else draw(st.integers(0, version))
    people = draw(st.lists(st.sampled_from([TESTER, REAL]), unique=True)) if active_version else []
    named = tuple(map(NamedAddress, people))
    return ListState(is_on and not is_expired, named, version, active_version, draw(st.booleans()) or is_on, is_expired)


policies = st.builds(
    PolicyState,
    st.sampled_from(RecipientPolicy),
    st.builds(lambda since: (AllowedPattern(DAN, since),), VERSIONS) | st.just(()),
    *[VERSIONS] * 3,
    st.booleans(),
)


def due_message(route: RouteKind, list_version: int, policy_version: int) -> DueMessage:
    fields: dict[str, Any] = dict.fromkeys(DueMessage._fields)
    return DueMessage(**{**fields, "route": route.value, "list_version": list_version, "policy_version": policy_version})


@given(st.sampled_from([*WAITING_FOR]), VERSIONS, VERSIONS, lists(), policies, st.data())
def test_a_message_that_leaves_as_it_is_would_be_routed_the_same(
    route, list_version, policy_version, state, policy, data
) -> None:
    """The quick check may send too many messages to the second one, and never too few."""
    waiting = data.draw(st.lists(st.sampled_from([*WAITING_FOR[route].items()]), unique=True))
    due = [DueRecipient(number, address, "", 0, rule) for number, (address, rule) in enumerate(waiting)]
    if not route_still_holds(
        due_message(route, list_version, policy_version), Recipients(len(due), waiting=due, due=due), state, policy
    ):
        return
    event(route)
    allowed = tuple(address for address, rule in waiting if rule == Rule.ALLOWED)
    again = route_again(StoredRoute(route, list_version, policy_version, True, allowed), [REAL, DAN], state, policy)
    if again is not None:
        assert (again.kind, again.hold_reason, again.captured) == (route, None, ())
        listed = [address for address, rule in waiting if rule == Rule.TEST_LIST]
        assert {item.person.email for item in again.recipients if item.rule == Rule.TEST_LIST} == set(listed)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("was_toggled", [False, True])
def test_a_batch_costs_as_many_statements_for_twenty_emails_as_for_one(crm: App, qa: Stage, was_toggled: bool) -> None:
    """Also where the list was Active once. BEGIN and COMMIT are counted too."""
    configure(qa, from_domains="*")
    if was_toggled:
        set_list(crm, qa, TESTER)
        set_list(crm, qa, TESTER, active=False)
    batches, results = Batches(DeliveryConfig()), list[MessageResult]()
    batches.write({}, {qa.pk: 1})  # learns the settings

    def statements(count: int) -> int:
        for _ in range(count):
            send(crm, qa)
        with CaptureQueriesContext(connection) as captured:
            claim = batches.write({qa.pk: results}, {qa.pk: count}).claims[qa.pk]
        assert isinstance(claim, StageClaim)
        assert len(claim.messages) == count
        results[:] = [
            MessageResult(mail, [Outcome(mail.recipients[0], Attempt.Outcome.SENT, "content", 250, "Ok")], claim.settings)
            for mail in claim.messages
        ]
        return len(captured)

    assert statements(1) < statements(1) == statements(20) == (8 if connection.vendor == "postgresql" else 11)
    assert Message.objects.filter(status=Status.SENT).count() == 2  # the twenty are on their way
