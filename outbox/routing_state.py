"""What decides about an app's messages in a stage, as this process has read it last.

The database makes one text of it. Storing a message compares that text with what is in force then, in the same statement or
transaction. So what is kept here is never relied on alone (decision 16).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from common import sql
from common.inserts import Snapshot
from organization.models import App, Credential, Stage
from organization.recipient_policy.policy import PolicyState
from organization.statements import policy_state
from outbox import statements
from outbox.exceptions import SubmissionRefused
from testlists.state import ListState
from testlists.statements import list_state


class Place(NamedTuple):
    """Where a message is submitted, and with which credential, if any. The keys of apps and stages never change."""

    app_key: str
    stage_key: str
    credential_id: int | None


class RoutingState(NamedTuple):
    """What is in force for one place. `snapshot`: the text that it was made of. `sender`: empty without SMTP settings."""

    snapshot: str
    app_id: int
    stage_id: int
    test_list: ListState
    policy: PolicyState
    sender: str
    paused: bool


# More places than most organizations have. One takes a few kilobytes.
_KEPT_AT_MOST = 2000
_kept: dict[Place, RoutingState] = {}


def place_of(app: App, stage: Stage, credential: Credential | None) -> Place:
    return Place(app.key, stage.key, credential.pk if credential else None)


def routing_state(place: Place) -> RoutingState:
    """The state as it was read last, or as it is now. Raises SubmissionRefused where it is now that nothing is accepted there."""
    state = _kept.get(place)
    if state is None:
        state = _read(place)
        if len(_kept) >= _KEPT_AT_MOST:
            _kept.clear()
        _kept[place] = state
    return state


def forget(places: Iterable[Place]) -> None:
    for place in places:
        _kept.pop(place, None)


def snapshot_of(states: Iterable[tuple[Place, RoutingState]]) -> Snapshot:
    """What a write of messages that were routed by these states compares."""
    return statements.routing_states([(*place, state.snapshot) for place, state in states])


def _read(place: Place) -> RoutingState:
    (snapshot,) = sql.fetch(statements.ROUTING_STATE, *place)
    if snapshot is None:
        raise SubmissionRefused(550, "5.7.1", "The app or the stage doesn't exist any more.")
    app_id, stage_id, archived, credential_is_valid, sender, paused, *rest = json.loads(snapshot)
    if place.credential_id is not None and not credential_is_valid:
        raise SubmissionRefused(535, "5.7.8", "The credential was revoked, or its last day has passed.")
    if archived:
        raise SubmissionRefused(550, "5.7.1", f"{archived} is archived and sends no mail.")
    test_list, policy = list_state(*rest[:6]), policy_state(*rest[6:])
    return RoutingState(snapshot, app_id, stage_id, test_list, policy, sender or "", bool(paused))
