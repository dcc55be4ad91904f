"""What an act on many messages would do now: how many emails and recipients would go where, by which rule. Nothing changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from common.addresses import same_address_key
from organization.models import Stage
from organization.recipient_policy.policy import PolicyState
from organization.recipient_policy.reading import policy_of
from outbox import actions
from outbox.bulk.checks import ENDING, Act, Checks
from outbox.models import FINAL, WAITING, HoldReason, Message, Recipient, RouteKind, Rule, Status
from outbox.routing import Route, StoredRoute, route_again, route_resent
from testlists.state import NO_LIST, ListState, states_of_stage

_HELD, _ENDED = "Held", "Not sent: ends as failed"


class Target(NamedTuple):
    """Where messages of a stage would go, by which rule."""

    stage: Stage
    rule: str


@dataclass
class Count:
    emails: int = 0
    recipients: int = 0


@dataclass
class Preview:
    """By target, how many messages and recipients; and how many are left out, by reason."""

    matching: int = 0
    targets: dict[Target, Count] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    stages: set[Stage] = field(default_factory=set)

    def add(self, stage: Stage, recipients_by_rule: Counter[str]) -> None:
        self.changed += 1
        self.stages.add(stage)
        for rule, recipients in recipients_by_rule.items():
            count = self.targets.setdefault(Target(stage, rule), Count())
            count.emails += 1
            count.recipients += recipients


class Previewer:
    """Adds messages to a preview. Lists and policies are read once for each stage."""

    def __init__(self, checks: Checks) -> None:
        self.checks, self.preview = checks, Preview()
        self._lists = cache(lambda stage: states_of_stage(stage, checks.now))
        self._policy = cache(policy_of)

    def add(self, messages: Collection[Message]) -> None:
        """Recipients should be prefetched."""
        reasons = self.checks.why_not(messages)
        self.preview.matching += len(messages)
        self.preview.left_out += Counter(reason for reason in reasons.values() if reason)
        chosen = [message for message in messages if not reasons[message.pk]]
        repeats = self.checks.act == Act.RESEND and not self.checks.options.everybody
        reached = actions.reached_by(chosen) if repeats else {}
        for message in chosen:
            self.preview.add(message.stage, Counter(self._rules(message, reached.get(message.pk, frozenset()))))

    def _rules(self, message: Message, reached: frozenset[str]) -> Iterator[str]:
        """The rule of each recipient whom the act is about."""
        unfinished = [recipient for recipient in message.recipients.all() if recipient.status not in FINAL]
        if self.checks.act in ENDING:
            yield from (_ENDED for _ in unfinished)
            return
        if self.checks.act == Act.RESEND:
            yield from _rules_of(self._resent(message, reached))
            return
        changed = route_again(_stored(message, unfinished), message.requested, self._list(message), self._policy_of(message))
        yield from _rules_of(changed) if changed else (Rule(recipient.rule).label for recipient in unfinished)

    def _resent(self, message: Message, reached: frozenset[str]) -> Route:
        missing = [address for address in actions.reachable(message) if same_address_key(address) not in reached]
        requested = missing or actions.reachable(message)
        decided = route_resent(RouteKind(message.route), requested, self._list(message), self._policy_of(message))
        return decided.without(reached)

    def _list(self, message: Message) -> ListState:
        return self._lists(message.stage).get(message.app_id, NO_LIST)

    def _policy_of(self, message: Message) -> PolicyState:
        return self._policy(message.stage)


def _stored(message: Message, unfinished: Collection[Recipient]) -> StoredRoute:
    waiting = [recipient for recipient in unfinished if recipient.status in (*WAITING, Status.HELD)]
    allowed = tuple(recipient.address for recipient in waiting if recipient.rule == Rule.ALLOWED)
    kind, has_recipients = RouteKind(message.route), bool(waiting)
    return StoredRoute(kind, message.list_version, message.policy_version, has_recipients, allowed, message.is_own)


def _rules_of(route: Route) -> Iterator[str]:
    if route.hold_reason:
        yield f"{_HELD}: {HoldReason(route.hold_reason).label}"
    yield from (recipient.rule.label for recipient in route.recipients)
    yield from (str(Rule.CAPTURED.label) for _ in route.captured)
