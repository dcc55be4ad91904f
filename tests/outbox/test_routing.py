"""The routing rules as tables (docs/reference/routing.md)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.addresses import NamedAddress, same_address_key
from organization.recipient_policy.policy import OPEN, AllowedPattern, PolicyState, RecipientPolicy
from outbox.models import HoldReason, RouteKind, Rule
from outbox.routing import StoredRoute, forward, release, route, route_again, route_resent
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
    routing = route(requested, test_list, OPEN)
    assert (routing.kind, [person.email for person in routing.people], routing.hold_reason) == (kind, delivered_to, hold)
    assert [decision.requested for decision in routing.decisions] == requested
    assert all(decision.reason for decision in routing.decisions)


WAS_ACTIVE = ListState(False, (ANA, BEN), version=3, active_version=2)
WAS_ACTIVE_AND_EMPTIED = ListState(False, (), version=3, active_version=2)


@pytest.mark.parametrize(
    ("decided", "test_list", "kind", "delivered_to"),
    [
        # Nothing changed, or the list was switched off: what was decided holds.
        (StoredRoute(RouteKind.RECIPIENTS, 0, 0, True), OFF, None, None),
        (StoredRoute(RouteKind.TEST_LIST, 0, 0, True), OFF, None, None),
        (StoredRoute(RouteKind.RECIPIENTS, 2, 0, True), WAS_ACTIVE, None, None),
        (StoredRoute(RouteKind.TEST_LIST, 2, 0, True), WAS_ACTIVE, None, None),
        # A person released it: no list catches it, whatever became of the list since.
        (StoredRoute(RouteKind.RELEASED, 0, 0, True), ACTIVE, None, None),
        (StoredRoute(RouteKind.RELEASED, 0, 0, True), EMPTY, None, None),
        (StoredRoute(RouteKind.RELEASED, 1, 0, True), WAS_ACTIVE, None, None),
        # A list that is Active now, or was meanwhile, catches what is still queued; test mail follows the list.
        (StoredRoute(RouteKind.RECIPIENTS, 0, 0, True), ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (StoredRoute(RouteKind.TEST_LIST, 0, 0, True), ACTIVE, RouteKind.TEST_LIST, ["ana@acme.example", "ben@acme.example"]),
        (
            StoredRoute(RouteKind.RECIPIENTS, 1, 0, True),
            WAS_ACTIVE,
            RouteKind.TEST_LIST,
            ["ana@acme.example", "ben@acme.example"],
        ),
        (StoredRoute(RouteKind.RECIPIENTS, 1, 0, True), WAS_ACTIVE_AND_EMPTIED, RouteKind.TEST_LIST, []),
        (StoredRoute(RouteKind.RECIPIENTS, 0, 0, True), EMPTY, RouteKind.TEST_LIST, []),
        # Without a list all of it is held; one that was made again since may have been Active before.
        (StoredRoute(RouteKind.RECIPIENTS, 1, 0, True), NO_LIST, RouteKind.TEST_LIST, []),
        (StoredRoute(RouteKind.TEST_LIST, 1, 0, True), NO_LIST, RouteKind.TEST_LIST, []),
        (StoredRoute(RouteKind.RELEASED, 1, 0, True), NO_LIST, None, None),
        (
            StoredRoute(RouteKind.RECIPIENTS, 2, 0, True),
            ListState(False, (ANA,), version=1),
            RouteKind.TEST_LIST,
            ["ana@acme.example"],
        ),
        # Test mail that was held with nobody to get it never turns into real mail.
        (
            StoredRoute(RouteKind.TEST_LIST, 3, 0, False),
            WAS_ACTIVE,
            RouteKind.TEST_LIST,
            ["ana@acme.example", "ben@acme.example"],
        ),
        (StoredRoute(RouteKind.TEST_LIST, 0, 0, False), ListState(False, ()), RouteKind.TEST_LIST, []),
    ],
)
def test_the_second_look_goes_only_toward_safer(decided, test_list, kind, delivered_to):
    again = route_again(decided, ["c@x.example"], test_list, OPEN)
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
    routing = route_resent(original, ["c@x.example"], test_list, OPEN)
    assert (routing.kind, [person.email for person in routing.people]) == (kind, delivered_to)
    assert bool(routing.hold_reason) is (delivered_to == [])


EXPIRED = ListState(False, (ANA, BEN), version=3, active_version=3, expired=True)
LISTED, CAPTURING = PolicyState(RecipientPolicy.LISTED_ONLY), PolicyState(RecipientPolicy.NOBODY)
IN_PRODUCTION = PolicyState(RecipientPolicy.AS_APPS_ASK, is_production=True)


@pytest.mark.parametrize(
    ("policy", "kind", "hold"),
    [
        (OPEN, RouteKind.TEST_LIST, HoldReason.LIST_EXPIRED),
        (
            PolicyState(RecipientPolicy.AS_APPS_ASK, (AllowedPattern("x.example"),)),
            RouteKind.TEST_LIST,
            HoldReason.LIST_EXPIRED,
        ),
        (LISTED, RouteKind.CAPTURED, None),
        (CAPTURING, RouteKind.CAPTURED, None),
        (IN_PRODUCTION, RouteKind.RECIPIENTS, None),
    ],
)
def test_an_expired_list_holds_where_its_end_would_open_the_stage(policy, kind, hold):
    routing = route(["c@x.example"], EXPIRED, policy)
    assert (routing.kind, routing.hold_reason) == (kind, hold)


@pytest.mark.parametrize(
    ("decided", "policy", "expected"),
    [
        (StoredRoute(RouteKind.TEST_LIST, 3, 0, True), OPEN, HoldReason.LIST_EXPIRED),
        (StoredRoute(RouteKind.TEST_LIST, 3, 0, False), OPEN, HoldReason.LIST_EXPIRED),
        (StoredRoute(RouteKind.RECIPIENTS, 3, 0, True), OPEN, HoldReason.LIST_EXPIRED),
        (StoredRoute(RouteKind.RECIPIENTS, 2, 0, True), OPEN, HoldReason.LIST_EXPIRED),
        # A person released it, or it went to allowed addresses: no list has a say.
        (StoredRoute(RouteKind.RELEASED, 2, 0, True), OPEN, "stays"),
        (StoredRoute(RouteKind.ALLOWED, 3, 0, True, ()), OPEN, "stays"),
        # The end is no more than a deactivation here: what was routed stays with whom it was routed to.
        (StoredRoute(RouteKind.TEST_LIST, 3, 0, True), IN_PRODUCTION, "stays"),
        (StoredRoute(RouteKind.RECIPIENTS, 3, 0, True), IN_PRODUCTION, "stays"),
        (StoredRoute(RouteKind.RECIPIENTS, 2, 0, True), IN_PRODUCTION, None),
        (StoredRoute(RouteKind.TEST_LIST, 3, 0, True), LISTED, "stays"),
    ],
)
def test_the_second_look_at_an_expired_list(decided, policy, expected):
    again = route_again(decided, ["c@x.example"], EXPIRED, policy)
    if expected == "stays":
        assert again is None
    else:
        assert (again.kind, again.hold_reason) == (RouteKind.TEST_LIST, expected)
        assert again.people == (ANA, BEN)  # it was Active meanwhile


def test_released_mail_goes_to_each_recipient_of_its_envelope_once():
    routing = release(["c@x.example", "d@x.example", "c@X.example"])
    assert (routing.kind, [person.email for person in routing.people]) == (RouteKind.RELEASED, ["c@x.example", "d@x.example"])
    assert [decision.delivered_to for decision in routing.decisions] == [("c@x.example",), ("d@x.example",), ("c@X.example",)]
    assert routing.hold_reason is None


TEST_LIST_KINDS = [RouteKind.TEST_LIST, RouteKind.RECIPIENTS, RouteKind.RELEASED]
addresses = st.sampled_from([f"{name}@{domain}" for name in "abcd" for domain in ("x.example", "X.example", "y.example")])
lists = st.builds(
    lambda active, people: ListState(active, tuple(NamedAddress(person) for person in people)), st.booleans(), st.lists(addresses)
)


@given(requested=st.lists(addresses, min_size=1), test_list=lists)
def test_nobody_outside_an_active_list_and_nobody_twice(requested, test_list):
    routing = route(requested, test_list, OPEN)
    keys = [same_address_key(person.email) for person in routing.people]
    assert len(keys) == len(set(keys))
    allowed = [person.email for person in test_list.people] if test_list.active else requested
    assert set(keys) == {same_address_key(address) for address in allowed}


@given(
    requested=st.lists(addresses, min_size=1),
    decided=st.builds(StoredRoute, st.sampled_from(TEST_LIST_KINDS), st.integers(0, 3), st.just(0), st.booleans()),
    test_list=lists,
)
def test_test_mail_never_becomes_real_mail(requested, decided, test_list):
    again = route_again(decided, requested, test_list, OPEN)
    if again is not None and (decided.kind == RouteKind.TEST_LIST or test_list.active):
        assert again.kind == RouteKind.TEST_LIST
    assert again is not None or decided.kind == RouteKind.RELEASED or not test_list.active
    assert again is None or again.kind != RouteKind.RELEASED


LISTED = PolicyState(RecipientPolicy.LISTED_ONLY)
NOBODY = PolicyState(RecipientPolicy.NOBODY)
DAN, ELI, OUT = "dan@allowed.example", "eli@allowed.example", "c@x.example"
ALLOWED = (AllowedPattern("allowed.example"),)
OPEN_ALLOWED = PolicyState(RecipientPolicy.AS_APPS_ASK, ALLOWED)
LISTED_ALLOWED = PolicyState(RecipientPolicy.LISTED_ONLY, ALLOWED)
PEOPLE = ["ana@acme.example", "ben@acme.example"]


@pytest.mark.parametrize(
    ("requested", "test_list", "policy", "kind", "delivered_to", "captured"),
    [
        # Nobody: an Active list, a missing one and allowed addresses change nothing.
        ([OUT], OFF, NOBODY, RouteKind.CAPTURED, [], [OUT]),
        ([OUT, DAN], ACTIVE, PolicyState(RecipientPolicy.NOBODY, ALLOWED), RouteKind.CAPTURED, [], [OUT, DAN]),
        ([OUT], NO_LIST, NOBODY, RouteKind.CAPTURED, [], [OUT]),
        # Lists and allowed addresses only.
        ([OUT], OFF, LISTED, RouteKind.CAPTURED, [], [OUT]),
        ([OUT, "c@X.example"], OFF, LISTED, RouteKind.CAPTURED, [], [OUT]),
        ([OUT], ACTIVE, LISTED, RouteKind.TEST_LIST, PEOPLE, []),
        ([DAN], OFF, LISTED_ALLOWED, RouteKind.ALLOWED, [DAN], []),
        ([DAN, OUT], OFF, LISTED_ALLOWED, RouteKind.ALLOWED, [DAN], [OUT]),
        ([DAN, OUT], ACTIVE, LISTED_ALLOWED, RouteKind.TEST_LIST, [*PEOPLE, DAN], []),
        # As apps ask: allowed addresses count only beside an Active list.
        ([DAN, OUT], OFF, OPEN_ALLOWED, RouteKind.RECIPIENTS, [DAN, OUT], []),
        ([DAN, ELI], ACTIVE, OPEN_ALLOWED, RouteKind.ALLOWED, [DAN, ELI], []),
        ([DAN, OUT], ACTIVE, OPEN_ALLOWED, RouteKind.TEST_LIST, [*PEOPLE, DAN], []),
    ],
)
def test_policy_then_list_then_allowed_addresses(requested, test_list, policy, kind, delivered_to, captured):
    decided = route(requested, test_list, policy)
    assert (decided.kind, [person.email for person in decided.people], list(decided.captured)) == (kind, delivered_to, captured)
    assert decided.hold_reason is None
    assert [decision.requested for decision in decided.decisions] == requested


def test_a_missing_or_empty_list_holds_under_a_closed_policy_too():
    assert route([OUT], NO_LIST, LISTED).hold_reason == HoldReason.TEST_LIST_MISSING
    assert route([OUT], EMPTY, LISTED).hold_reason == HoldReason.TEST_LIST_EMPTY


def test_each_recipient_keeps_the_rule_that_it_gets_the_email_by():
    decided = route([DAN, OUT, "ana@acme.example"], ACTIVE, OPEN_ALLOWED)
    assert {recipient.person.email: recipient.rule for recipient in decided.recipients} == {
        "ana@acme.example": Rule.TEST_LIST,
        "ben@acme.example": Rule.TEST_LIST,
        DAN: Rule.ALLOWED,
    }
    assert [decision.rule for decision in decided.decisions] == [Rule.ALLOWED, Rule.TEST_LIST, Rule.TEST_LIST]


REOPENED = PolicyState(RecipientPolicy.AS_APPS_ASK, version=4, listed_since=2, open_since=4)
NOT_ALLOWED_ANY_MORE = PolicyState(RecipientPolicy.LISTED_ONLY, version=2)
ALLOWED_SINCE = PolicyState(RecipientPolicy.LISTED_ONLY, (AllowedPattern("x.example", 2),), version=2)


@pytest.mark.parametrize(
    ("decided", "requested", "test_list", "policy", "kind", "delivered_to"),
    [
        # A policy that became narrower catches what is queued, also when it was widened again meanwhile.
        (StoredRoute(RouteKind.RECIPIENTS, 0, 0, True), [OUT], OFF, LISTED, RouteKind.CAPTURED, []),
        (StoredRoute(RouteKind.RECIPIENTS, 0, 3, True), [OUT], OFF, REOPENED, RouteKind.CAPTURED, []),
        (StoredRoute(RouteKind.RECIPIENTS, 0, 4, True), [OUT], OFF, REOPENED, None, None),
        (StoredRoute(RouteKind.TEST_LIST, 0, 1, True), [OUT], ACTIVE, REOPENED, RouteKind.CAPTURED, []),
        (StoredRoute(RouteKind.TEST_LIST, 0, 3, True), [OUT], OFF, REOPENED, None, None),
        (StoredRoute(RouteKind.RELEASED, 0, 0, True), [OUT], OFF, NOBODY, RouteKind.CAPTURED, []),
        (StoredRoute(RouteKind.RELEASED, 0, 0, True), [OUT], OFF, LISTED, None, None),
        # An address that was allowed after the email was accepted frees nothing; one that is no longer allowed gets nothing.
        (StoredRoute(RouteKind.RECIPIENTS, 0, 1, True), [OUT], OFF, ALLOWED_SINCE, RouteKind.CAPTURED, []),
        (StoredRoute(RouteKind.ALLOWED, 0, 1, True, (DAN,)), [DAN], OFF, NOT_ALLOWED_ANY_MORE, RouteKind.CAPTURED, []),
        (StoredRoute(RouteKind.ALLOWED, 0, 0, True, (DAN,)), [DAN, OUT], OFF, LISTED_ALLOWED, None, None),
        (
            StoredRoute(RouteKind.TEST_LIST, 0, 1, True, (DAN,)),
            [DAN, OUT],
            OFF,
            NOT_ALLOWED_ANY_MORE,
            RouteKind.TEST_LIST,
            PEOPLE,
        ),
        # What went to allowed addresses alone goes to nobody else once the stage is open; a list that is Active catches it.
        (StoredRoute(RouteKind.ALLOWED, 0, 0, True, (DAN,)), [DAN, OUT], OFF, OPEN_ALLOWED, None, None),
        (
            StoredRoute(RouteKind.ALLOWED, 0, 0, True, (DAN,)),
            [DAN, OUT],
            ACTIVE,
            OPEN_ALLOWED,
            RouteKind.TEST_LIST,
            [*PEOPLE, DAN],
        ),
    ],
)
def test_the_second_look_at_the_policy_goes_only_toward_safer(decided, requested, test_list, policy, kind, delivered_to):
    again = route_again(decided, requested, test_list, policy)
    if kind is None:
        assert again is None
    else:
        assert (again.kind, [person.email for person in again.people]) == (kind, delivered_to)


@pytest.mark.parametrize("policy", [PolicyState(RecipientPolicy.AS_APPS_ASK), LISTED, NOBODY])
@pytest.mark.parametrize("test_list", [OFF, EMPTY, ACTIVE, WAS_ACTIVE, NO_LIST])
def test_what_a_person_forwarded_reaches_the_same_people_whatever_changes(policy, test_list):
    assert route_again(StoredRoute(RouteKind.FORWARDED, 0, 0, True), [OUT], test_list, policy) is None


def test_a_forwarded_email_reaches_nobody_whom_the_app_gave():
    route = forward([OUT, DAN], [ANA, ANA])
    assert (route.kind, route.people, route.captured) == (RouteKind.FORWARDED, (ANA,), ())
    assert [(decision.delivered_to, decision.rule) for decision in route.decisions] == [((ANA.email,), Rule.FORWARDED)] * 2


@pytest.mark.parametrize("original", [RouteKind.ALLOWED, RouteKind.CAPTURED, RouteKind.FORWARDED])
def test_what_was_captured_is_resent_to_nobody_else(original):
    again = route_resent(original, [DAN, OUT], OFF, OPEN_ALLOWED)
    assert (again.kind, [person.email for person in again.people], again.captured) == (RouteKind.ALLOWED, [DAN], (OUT,))


policies = st.builds(
    PolicyState,
    st.sampled_from(RecipientPolicy),
    st.lists(st.builds(AllowedPattern, st.sampled_from(["a@x.example", "b@y.example", "y.example"]), st.integers(0, 3))).map(
        tuple
    ),
    version=st.just(3),
    listed_since=st.integers(0, 3),
    open_since=st.integers(0, 3),
)


@given(
    requested=st.lists(addresses, min_size=1, unique_by=same_address_key),
    accepted_list=lists,
    accepted_policy=policies,
    test_list=lists,
    policy=policies,
)
def test_a_second_look_never_adds_anybody_outside_list_and_allowed(requested, accepted_list, accepted_policy, test_list, policy):
    first = route(requested, accepted_list, accepted_policy)
    allowed = tuple(item.person.email for item in first.recipients if item.rule == Rule.ALLOWED)
    decided = StoredRoute(first.kind, accepted_list.version, accepted_policy.version, bool(first.people), allowed)
    again = route_again(decided, requested, test_list, policy)
    if again is None:
        return
    safe = {same_address_key(person.email) for person in test_list.people}
    before = {same_address_key(person.email) for person in first.people}
    for person in again.people:
        assert same_address_key(person.email) in safe or policy.allows(person.email) or same_address_key(person.email) in before
    if policy.since(accepted_policy.version).policy == RecipientPolicy.NOBODY:
        assert again.people == ()


def test_a_route_without_those_who_got_it_keeps_everybody_else() -> None:
    decided = route(["a@x.example", "b@x.example"], OFF, PolicyState(RecipientPolicy.AS_APPS_ASK))
    remaining = decided.without({"a@x.example"})
    assert [person.email for person in remaining.people] == ["b@x.example"]
    assert not remaining.reaches_nobody
    assert decided.without({"a@x.example", "b@x.example"}).reaches_nobody
    captured = route(["a@x.example"], OFF, PolicyState(RecipientPolicy.NOBODY))
    assert captured.without({"b@x.example"}).captured == ("a@x.example",)
