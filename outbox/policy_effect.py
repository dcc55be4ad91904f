"""What a recipient policy would have done to the emails of the last days: the same route() over what was asked for then.

Lists and allowed addresses are taken as they are now. Nothing is sent, and no content is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from common.addresses import same_address_key
from common.clock import database_now
from organization.recipient_policy.policy import RecipientPolicy
from organization.recipient_policy.reading import policy_of
from outbox.access.visibility import LogAccess
from outbox.models import Message, RouteKind, Rule, Source
from outbox.routing import Route, route
from testlists.state import NO_LIST, states_of_stage

# So many of the stage's newest emails are read at most, which takes half a second.
READ_AT_MOST = 30_000
# An email's number may come a little before or after its time.
_SLACK = timedelta(minutes=5)
_ROWS_AT_ONCE = 2_000


@dataclass
class PolicyEffect:
    """How many emails would have gone where. An email with allowed and other recipients counts as allowed and captured.

    `outside`: different recipients who are neither replaced by a list nor allowed. `complete` is false where there are more
    emails than were read.
    """

    emails: int = 0
    to_lists: int = 0
    to_allowed: int = 0
    to_recipients: int = 0
    captured: int = 0
    held: int = 0
    complete: bool = True
    _outside: set[str] = field(default_factory=set)

    @property
    def outside(self) -> int:
        return len(self._outside)

    def add(self, decided: Route, requested: Sequence[str], allowed: Sequence[bool]) -> None:
        """`decided` may be the route of other addresses, of which the same are allowed."""
        self.emails += 1
        self.held += decided.hold_reason is not None
        self.to_lists += decided.kind == RouteKind.TEST_LIST and decided.hold_reason is None
        self.to_allowed += any(recipient.rule == Rule.ALLOWED for recipient in decided.recipients)
        self.to_recipients += decided.kind == RouteKind.RECIPIENTS
        self.captured += bool(decided.captured)
        for address, is_allowed, decision in zip(requested, allowed, decided.decisions, strict=True):
            if not is_allowed and decision.rule in (Rule.CAPTURED, Rule.AS_APPS_ASK):
                self._outside.add(same_address_key(address))


def effect_of(policy: RecipientPolicy, access: LogAccess, since: datetime) -> PolicyEffect:
    """Over the emails of the apps whose log the member may read.

    All that route() asks about an address is whether it is allowed. So one route stands for all emails of an app that are alike
    in this, which makes ten thousand of them a matter of a tenth of a second.
    """
    stage, effect = access.stage, PolicyEffect()
    state = replace(policy_of(stage), policy=policy)
    lists = states_of_stage(stage, database_now())
    routes: dict[tuple[int, tuple[bool, ...]], Route] = {}
    for app_id, requested in _newest(access, since, effect):
        allowed = tuple(map(state.allows, requested))
        if (app_id, allowed) not in routes:
            routes[app_id, allowed] = route(requested, lists.get(app_id, NO_LIST), state)
        effect.add(routes[app_id, allowed], requested, allowed)
    return effect


def _newest(access: LogAccess, since: datetime, effect: PolicyEffect) -> Iterator[tuple[int, list[str]]]:
    """App and recipients of the stage's newest emails, back to `since` or as many as are read at most."""
    visible = None if access.every_app else {app.pk for app in access.apps}
    emails = Message.objects.filter(stage=access.stage).exclude(via=Source.OWN)
    rows = emails.order_by("-pk").values_list("app_id", "requested", "created")
    for number, (app_id, requested, created) in enumerate(rows[: READ_AT_MOST + 1].iterator(_ROWS_AT_ONCE)):
        if created < since - _SLACK:
            return
        if number == READ_AT_MOST:
            effect.complete = False
            return
        if created >= since and (visible is None or app_id in visible):
            yield app_id, requested
