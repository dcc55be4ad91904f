"""Who gets an email. Pure: no database, no network, no clock; tests/outbox/test_routing.py is its table.

The rules are in docs/reference/routing.md. The stage's recipient policy comes first, then the app's test list, then the
stage's allowed addresses. What can't be decided holds the email.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from common.addresses import NamedAddress, same_address_key
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from outbox.models import HoldReason, RouteKind, Rule
from testlists.state import ListState, holds_after_end

# Routes that reach allowed addresses at most, whatever the policy becomes.
_CLOSED = (RouteKind.ALLOWED, RouteKind.CAPTURED, RouteKind.FORWARDED)


@dataclass(frozen=True)
class Decision:
    """What happens to one requested address, the rule that made it so, and that rule in words."""

    requested: str
    delivered_to: tuple[str, ...]
    rule: Rule | None
    reason: str


@dataclass(frozen=True)
class RoutedPerson:
    """A person who gets the email, and by which rule."""

    person: NamedAddress
    rule: Rule


@dataclass(frozen=True)
class Route:
    """The outcome: who gets the email, whose copy is captured, or why the email is held."""

    kind: RouteKind
    recipients: tuple[RoutedPerson, ...]
    decisions: tuple[Decision, ...]
    captured: tuple[str, ...] = ()
    hold_reason: HoldReason | None = None

    @property
    def people(self) -> tuple[NamedAddress, ...]:
        return tuple(recipient.person for recipient in self.recipients)

    def without(self, reached: Collection[str]) -> Route:
        """The same route for those alone who aren't `reached` yet (as same_address_key has their addresses)."""
        recipients = tuple(routed for routed in self.recipients if same_address_key(routed.person.email) not in reached)
        captured = tuple(address for address in self.captured if same_address_key(address) not in reached)
        return replace(self, recipients=recipients, captured=captured)

    @property
    def reaches_nobody(self) -> bool:
        return not (self.recipients or self.captured or self.hold_reason)


def route(requested: Sequence[str], test_list: ListState, policy: PolicyState) -> Route:
    """Decide for the addresses of an envelope. Each person gets one copy, however often they were named."""
    if policy.policy == RecipientPolicy.NOBODY:
        return _to_allowed((), requested, "The stage captures all email, so nobody gets it.")
    if not test_list.exists or is_held_by_time(test_list, policy):
        return _held_by_list(requested, test_list)
    allowed = policy.allowed_of(requested)
    if len(allowed) == len(requested) and (test_list.active or policy.policy == RecipientPolicy.LISTED_ONLY):
        return _to_allowed(allowed, requested, "")
    if test_list.active:
        return _to_list(requested, test_list, allowed)
    if policy.policy == RecipientPolicy.LISTED_ONLY:
        reason = "Only test lists and allowed addresses get email from this stage, so this recipient's copy is captured."
        return _to_allowed(allowed, requested, reason)
    return as_asked(requested)


def as_asked(requested: Sequence[str]) -> Route:
    """To the recipients that the app gave."""
    reason = "The test list is Inactive, so the email goes to the recipient the app gave."
    return _to_all(RouteKind.RECIPIENTS, Rule.AS_APPS_ASK, requested, reason)


def route_own(members: Sequence[str], policy: PolicyState) -> Route:
    """The portal's own email to members, who count as allowed addresses for it. It has no test list."""
    if policy.policy == RecipientPolicy.NOBODY:
        return _to_allowed((), members, "The stage captures all email, so nobody gets it.")
    reason = "The portal's own email goes to the member it is for, in every stage that doesn't capture all email."
    return _to_all(RouteKind.RECIPIENTS, Rule.ALLOWED, members, reason)


def _held_by_list(requested: Sequence[str], test_list: ListState) -> Route:
    if test_list.exists:
        reason = "The test list has expired, so the email is held until a person extends or deactivates the list."
        return _held(requested, reason, HoldReason.LIST_EXPIRED)
    reason = "The test list is missing, so it can't be known whether it was Active, and the email is held."
    return _held(requested, reason, HoldReason.TEST_LIST_MISSING)


def is_held_by_time(test_list: ListState, policy: PolicyState) -> bool:
    """Whether a person has to decide, because the list's end would open the stage to the recipients that apps give."""
    return test_list.expired and holds_after_end(policy.policy, is_production=policy.is_production)


def _to_allowed(allowed: Sequence[str], requested: Sequence[str], reason: str) -> Route:
    """Route to the allowed addresses. All other copies are captured, for this `reason`."""
    others = _people(Rule.CAPTURED, [address for address in requested if address not in allowed])
    kind = RouteKind.ALLOWED if allowed else RouteKind.CAPTURED
    decisions = tuple(
        _allowed_decision(address) if address in allowed else Decision(address, (), Rule.CAPTURED, reason)
        for address in requested
    )
    return Route(kind, _people(Rule.ALLOWED, allowed), decisions, tuple(other.person.email for other in others))


def _allowed_decision(address: str) -> Decision:
    return Decision(address, (address,), Rule.ALLOWED, "The stage allows this address, so it gets its own copy.")


def _to_list(requested: Sequence[str], test_list: ListState, allowed: Sequence[str]) -> Route:
    """Route to the list in place of the recipients. Those of them who are allowed get the same copy."""
    listed = _once([RoutedPerson(person, Rule.TEST_LIST) for person in test_list.people])
    if not listed:
        reason = "The test list is Active and nobody is on it, so the email is held."
        return _held(requested, reason, HoldReason.TEST_LIST_EMPTY)
    addresses = tuple(recipient.person.email for recipient in listed)
    reason = "The test list is Active, so the people on it get the email in place of this recipient."
    decisions = tuple(
        _allowed_decision(address) if address in allowed else Decision(address, addresses, Rule.TEST_LIST, reason)
        for address in requested
    )
    return Route(RouteKind.TEST_LIST, _once([*listed, *_people(Rule.ALLOWED, allowed)]), decisions)


def _held(requested: Sequence[str], reason: str, hold_reason: HoldReason) -> Route:
    """Hold the email as test mail, which goes to the list as soon as it can."""
    decisions = tuple(Decision(address, (), None, reason) for address in requested)
    return Route(RouteKind.TEST_LIST, (), decisions, hold_reason=hold_reason)


def _to_all(kind: RouteKind, rule: Rule, requested: Sequence[str], reason: str) -> Route:
    decisions = tuple(Decision(address, (address,), rule, reason) for address in requested)
    return Route(kind, _people(rule, requested), decisions)


def route_resent(original: RouteKind, requested: Sequence[str], test_list: ListState, policy: PolicyState) -> Route:
    """Where a resent email goes: as route() says, but never to more people than the first time.

    What was test mail goes to the list again. What was captured, or went to allowed addresses, goes to allowed addresses at
    most. Only release() sends it to others.
    """
    if original in _CLOSED:
        policy = policy.at_most(RecipientPolicy.LISTED_ONLY)
    was_test_mail = original in (RouteKind.TEST_LIST, RouteKind.RELEASED)
    return route(requested, replace(test_list, active=test_list.active or was_test_mail), policy)


def release(requested: Sequence[str]) -> Route:
    """Route one email to the addresses of its envelope whatever the test list says, because a person decided so."""
    reason = "A person released this email, so it goes to the recipient the app gave whatever the test list says."
    return _to_all(RouteKind.RELEASED, Rule.RELEASED, requested, reason)


def forward(requested: Sequence[str], people: Sequence[NamedAddress]) -> Route:
    """A captured email goes to these people alone, as test mail, because a person decided so."""
    reason = "A person forwarded this email as test mail, so this recipient doesn't get it."
    recipients = _once([RoutedPerson(person, Rule.FORWARDED) for person in people])
    addresses = tuple(recipient.person.email for recipient in recipients)
    decisions = tuple(Decision(address, addresses, Rule.FORWARDED, reason) for address in requested)
    return Route(RouteKind.FORWARDED, recipients, decisions)


@dataclass(frozen=True)
class StoredRoute:
    """What was decided at acceptance: the kind of route, the versions of list and policy then, and who is left to get it."""

    kind: RouteKind
    list_version: int
    policy_version: int
    has_recipients: bool
    allowed: tuple[str, ...] = ()  # those of them who get it as allowed addresses
    is_own: bool = False  # the portal's own email to a member


def route_again(decided: StoredRoute, requested: Sequence[str], test_list: ListState, policy: PolicyState) -> Route | None:
    """Check the route again when the email is claimed, only toward safer. None: what was decided before still holds.

    A policy that became narrower, and a list that became Active, catch what is still queued, even if they were changed back
    meanwhile. The opposite changes free nothing: test mail follows the list as it is now, whatever its toggle says, and an
    email to allowed addresses reaches only those. An expired list holds what waits, for the people on it, because it
    was Active meanwhile. No list catches an email that a
    person released, nor the portal's own, and only a stage that captures everything does. Nothing catches an email that a person
    forwarded. Without a list everything else is held.
    """
    policy = policy.since(decided.policy_version)
    captures_all = policy.policy == RecipientPolicy.NOBODY
    passes_lists = decided.is_own or decided.kind == RouteKind.RELEASED
    if decided.kind == RouteKind.FORWARDED or (passes_lists and not captures_all):
        return None
    if captures_all:
        return route(requested, test_list, policy)
    if decided.kind in _CLOSED:
        policy = policy.at_most(RecipientPolicy.LISTED_ONLY)
    if not test_list.exists:
        return route(requested, test_list, policy)
    if is_held_by_time(test_list, policy):
        return _caught_before_its_end(requested, test_list, policy)
    caught = test_list.active or test_list.was_active_since(decided.list_version)
    if not caught and decided.has_recipients and _still_holds(decided, policy):
        return None
    return route(requested, replace(test_list, active=caught or decided.kind == RouteKind.TEST_LIST), policy)


def _caught_before_its_end(requested: Sequence[str], test_list: ListState, policy: PolicyState) -> Route:
    to_list = _to_list(requested, test_list, policy.allowed_of(requested))
    return replace(to_list, hold_reason=to_list.hold_reason or HoldReason.LIST_EXPIRED)


def _still_holds(decided: StoredRoute, policy: PolicyState) -> bool:
    """Whether the policy still lets through all whom it let through then."""
    if decided.kind == RouteKind.RECIPIENTS:
        return policy.policy == RecipientPolicy.AS_APPS_ASK
    return all(policy.allows(address) for address in decided.allowed)


def _people(rule: Rule, addresses: Sequence[str]) -> tuple[RoutedPerson, ...]:
    return _once([RoutedPerson(NamedAddress(address), rule) for address in addresses])


def _once(recipients: Sequence[RoutedPerson]) -> tuple[RoutedPerson, ...]:
    first: dict[str, RoutedPerson] = {}
    for recipient in recipients:
        first.setdefault(same_address_key(recipient.person.email), recipient)
    return tuple(first.values())
