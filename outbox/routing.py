"""Who gets a mail. Pure: no database, no network, no clock; tests/outbox/test_routing.py is its table.

docs/reference/routing.md has the rules in words. An Active list takes every recipient's place. An Active list with nobody on
it holds the mail, and so does a list that is missing. Otherwise the mail goes to the recipients that the app gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.addresses import NamedAddress, same_address_key
from outbox.models import HoldReason, RouteKind
from testlists.state import ListState


@dataclass(frozen=True)
class Decision:
    """What happens to one requested address, and the rule that made it so."""

    requested: str
    delivered_to: tuple[str, ...]
    rule: str


@dataclass(frozen=True)
class Route:
    """The outcome: whom the mail is delivered to, or why it is held."""

    kind: RouteKind
    people: tuple[NamedAddress, ...]
    decisions: tuple[Decision, ...]
    hold_reason: HoldReason | None = None


def route(requested: Sequence[str], test_list: ListState) -> Route:
    """Decide for the addresses of an envelope. Each person gets one copy, however often they were named."""
    if not test_list.exists:
        rule = "The test list is missing, so nobody knows whether it was Active, and the mail is held."
        return _held(requested, rule, HoldReason.TEST_LIST_MISSING)
    if not test_list.active:
        people = _once([NamedAddress(address) for address in requested])
        rule = "The test list is Inactive, so the mail goes to the recipient the app gave."
        return Route(RouteKind.RECIPIENTS, people, tuple(Decision(one, (one,), rule) for one in requested))
    people = _once(test_list.people)
    listed = tuple(person.email for person in people)
    if not people:
        rule = "The test list is Active and nobody is on it, so the mail is held."
        return _held(requested, rule, HoldReason.TEST_LIST_EMPTY)
    rule = "The test list is Active, so the people on it get the mail in place of this recipient."
    return Route(RouteKind.TEST_LIST, people, tuple(Decision(one, listed, rule) for one in requested))


def _held(requested: Sequence[str], rule: str, reason: HoldReason) -> Route:
    """As test mail that nobody gets yet: it goes to the list as soon as somebody is on it."""
    return Route(RouteKind.TEST_LIST, (), tuple(Decision(one, (), rule) for one in requested), reason)


def route_resent(original: RouteKind, requested: Sequence[str], test_list: ListState) -> Route:
    """Where a mail goes that is sent again: as route() says, but what was test mail once stays with the list, whatever its
    toggle says now. Only release() lets it go."""
    return route(requested, replace(test_list, active=test_list.active or original != RouteKind.RECIPIENTS))


def release(requested: Sequence[str]) -> Route:
    """One mail goes to the addresses of its envelope whatever the test list says, because a person decided so."""
    rule = "A person released this mail, so it goes to the recipient the app gave whatever the test list says."
    people = _once([NamedAddress(address) for address in requested])
    return Route(RouteKind.RELEASED, people, tuple(Decision(one, (one,), rule) for one in requested))


@dataclass(frozen=True)
class Decided:
    """What was decided at acceptance: the kind of route, the list's version then, and whether anybody is left to get it."""

    kind: RouteKind
    list_version: int
    has_recipients: bool


def route_again(decided: Decided, requested: Sequence[str], test_list: ListState) -> Route | None:
    """The route looked at once more at hand-over, only toward safer. None: what was decided before still holds.

    A list that became Active catches what is still queued, also when it was switched off again meanwhile, and queued
    test mail follows the list as it is now. A list that was switched off never frees mail that was routed to it: test
    mail that was held with nobody to get it goes to the list whatever its toggle says. No list catches a mail that a person
    released: that is what they decided. Without a list all other mail is held.
    """
    if decided.kind == RouteKind.RELEASED:
        return None
    if not test_list.exists:
        return route(requested, test_list)
    caught = test_list.active or test_list.was_active_since(decided.list_version)
    if not caught and decided.has_recipients:
        return None
    return route(requested, replace(test_list, active=caught or decided.kind == RouteKind.TEST_LIST))


def _once(people: Sequence[NamedAddress]) -> tuple[NamedAddress, ...]:
    first: dict[str, NamedAddress] = {}
    for person in people:
        first.setdefault(same_address_key(person.email), person)
    return tuple(first.values())
