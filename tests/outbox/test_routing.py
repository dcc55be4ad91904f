"""The routing rules as tables (docs/reference/routing.md)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.addresses import NamedAddress, same_address_key
from outbox.models import HoldReason, RouteKind
from outbox.routing import Decided, release, route, route_again, route_resent
from testlists.state import NO_LIST, ListState

ANA, BEN = NamedAddress("ana@acme.example", "Ana"), NamedAddress("ben@acme.example")
OFF, EMPTY, ACTIVE = ListState(False, (ANA, BEN)), ListState(True, ()), ListState(True, (ANA, BEN))


@pytest.mark.parametrize(
    ("requested", "test_list", "kind", "delivered_to", "hold"),
    [
        (["c@x.example"], OFF, RouteKind.RECIPIENTS, ["c@x.example"], None),
        (["c@x.example", "d@x.example"], OFF, RouteKind.RECIPIENTS, ["c@x.example", "d@x.example"], None),
        (["c@x.example", "c@X.example"], OFF, RouteKind.RECIPIENTS, ["c@x.example"], None),
        (["c@x.example"], ListState(False, ()), RouteKind.RECIPIENTS, ["c@x.example"], None),
        (["c@x.example"], ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"], None),
        (["c@x.example", "d@x.example"], ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"], None),
        (["ana@acme.example"], ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"], None),
        (["c@x.example"], EMPTY, RouteKind.TEST_LIST, [], HoldReason.TEST_LIST_EMPTY),
        (["c@x.example"], ListState(True, (ANA, ANA)), RouteKind.TEST_LIST, ["ana@acme.example"], None),
        (["c@x.example"], NO_LIST, RouteKind.TEST_LIST, [], HoldReason.TEST_LIST_MISSING),
    ],
)
def test_who_gets_a_mail(requested, test_list, kind, delivered_to, hold):
    found = route(requested, test_list)
    assert (found.kind, [person.email for person in found.people], found.hold_reason) == (kind, delivered_to, hold)
    assert [decision.requested for decision in found.decisions] == requested
    assert all(decision.rule for decision in found.decisions)


WAS_ACTIVE = ListState(False, (ANA, BEN), version=3, active_version=2)
WAS_ACTIVE_AND_EMPTIED = ListState(False, (), version=3, active_version=2)


@pytest.mark.parametrize(
    ("decided", "test_list", "kind", "delivered_to"),
    [
        # Nothing changed, or the list was switched off: what was decided holds.
        (Decided(RouteKind.RECIPIENTS, 0, True), OFF, None, None),
        (Decided(RouteKind.TEST_LIST, 0, True), OFF, None, None),
        (Decided(RouteKind.RECIPIENTS, 2, True), WAS_ACTIVE, None, None),
        (Decided(RouteKind.TEST_LIST, 2, True), WAS_ACTIVE, None, None),
        # A person released it: no list catches it, whatever became of the list since.
        (Decided(RouteKind.RELEASED, 0, True), ACTIVE, None, None),
        (Decided(RouteKind.RELEASED, 0, True), EMPTY, None, None),
        (Decided(RouteKind.RELEASED, 1, True), WAS_ACTIVE, None, None),
        # A list that is Active now, or was meanwhile, catches what is still queued; test mail follows the list.
        (Decided(RouteKind.RECIPIENTS, 0, True), ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (Decided(RouteKind.TEST_LIST, 0, True), ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (Decided(RouteKind.RECIPIENTS, 1, True), WAS_ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (Decided(RouteKind.RECIPIENTS, 1, True), WAS_ACTIVE_AND_EMPTIED, RouteKind.TEST_LIST, []),
        (Decided(RouteKind.RECIPIENTS, 0, True), EMPTY, RouteKind.TEST_LIST, []),
        # Without a list all of it is held; one that was made again since may have been Active before.
        (Decided(RouteKind.RECIPIENTS, 1, True), NO_LIST, RouteKind.TEST_LIST, []),
        (Decided(RouteKind.TEST_LIST, 1, True), NO_LIST, RouteKind.TEST_LIST, []),
        (Decided(RouteKind.RELEASED, 1, True), NO_LIST, None, None),
        (
            Decided(RouteKind.RECIPIENTS, 2, True),
            ListState(False, (ANA,), version=1),
            RouteKind.TEST_LIST,
            ["ana@acme.example"],
        ),
        # Test mail that was held with nobody to get it never turns into real mail.
        (Decided(RouteKind.TEST_LIST, 3, False), WAS_ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (Decided(RouteKind.TEST_LIST, 0, False), ListState(False, ()), RouteKind.TEST_LIST, []),
    ],
)
def test_the_second_look_goes_only_toward_safer(decided, test_list, kind, delivered_to):
    again = route_again(decided, ["c@x.example"], test_list)
    if kind is None:
        assert again is None
    else:
        assert (again.kind, [person.email for person in again.people]) == (kind, delivered_to)
        assert bool(again.hold_reason) is (delivered_to == [])


@pytest.mark.parametrize(
    ("original", "test_list", "kind", "delivered_to"),
    [
        (RouteKind.RECIPIENTS, OFF, RouteKind.RECIPIENTS, ["c@x.example"]),
        (RouteKind.RECIPIENTS, WAS_ACTIVE, RouteKind.RECIPIENTS, ["c@x.example"]),
        (RouteKind.RECIPIENTS, ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        # What was test mail once stays with the list, also when it was released meanwhile.
        (RouteKind.TEST_LIST, WAS_ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (RouteKind.TEST_LIST, WAS_ACTIVE_AND_EMPTIED, RouteKind.TEST_LIST, []),
        (RouteKind.RECIPIENTS, NO_LIST, RouteKind.TEST_LIST, []),
        (RouteKind.RELEASED, WAS_ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (RouteKind.RELEASED, ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
    ],
)
def test_a_resent_mail_is_routed_as_of_now_only_toward_safer(original, test_list, kind, delivered_to):
    found = route_resent(original, ["c@x.example"], test_list)
    assert (found.kind, [person.email for person in found.people]) == (kind, delivered_to)
    assert bool(found.hold_reason) is (delivered_to == [])


def test_released_mail_goes_to_each_recipient_of_its_envelope_once():
    found = release(["c@x.example", "d@x.example", "c@X.example"])
    assert (found.kind, [person.email for person in found.people]) == (RouteKind.RELEASED, ["c@x.example", "d@x.example"])
    assert [decision.delivered_to for decision in found.decisions] == [("c@x.example",), ("d@x.example",), ("c@X.example",)]
    assert found.hold_reason is None


addresses = st.sampled_from([f"{name}@{domain}" for name in "abcd" for domain in ("x.example", "X.example", "y.example")])
lists = st.builds(
    lambda active, people: ListState(active, tuple(NamedAddress(person) for person in people)), st.booleans(), st.lists(addresses)
)


@given(requested=st.lists(addresses, min_size=1), test_list=lists)
def test_nobody_outside_an_active_list_and_nobody_twice(requested, test_list):
    found = route(requested, test_list)
    keys = [same_address_key(person.email) for person in found.people]
    assert len(keys) == len(set(keys))
    allowed = [person.email for person in test_list.people] if test_list.active else requested
    assert set(keys) == {same_address_key(address) for address in allowed}


@given(
    requested=st.lists(addresses, min_size=1),
    decided=st.builds(Decided, st.sampled_from(RouteKind), st.integers(0, 3), st.booleans()),
    test_list=lists,
)
def test_test_mail_never_becomes_real_mail(requested, decided, test_list):
    again = route_again(decided, requested, test_list)
    if again is not None and (decided.kind == RouteKind.TEST_LIST or test_list.active):
        assert again.kind == RouteKind.TEST_LIST
    assert again is not None or decided.kind == RouteKind.RELEASED or not test_list.active
    assert again is None or again.kind != RouteKind.RELEASED
