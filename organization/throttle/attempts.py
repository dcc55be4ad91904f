"""The one way to check a secret that can be guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from organization.access import Actor
from organization.exceptions import TooManyFailures
from organization.models import AuditEvent, Member
from organization.throttle.counting import Pair, State, count_failure, count_success, state_of
from organization.throttle.models import Secret
from organization.throttle.records import STRANGER, record_failure
from organization.throttle.slow_hashes import queue

log = structlog.get_logger(__name__)

T = TypeVar("T")


def attempt(
    secret: Secret,
    name: str,
    client: str,
    check: Callable[[], T | None],
    *,
    member: Member | None = None,
    actor: Actor = STRANGER,
    operation: AuditEvent.Operation = AuditEvent.Operation.SIGN_IN,
) -> T | None:
    """Call `check` and return its result; anything false counts as a failed guess.

    `name` is what was entered, `member` whose name it is, and `client` the client's IP address. Without calling `check` it
    raises TooManyFailures if the pair of name and address has to wait, and TooManySignIns if too many passwords are being
    checked. Both become an answer with Retry-After (portal/middleware/try_later.py).
    """
    pair = Pair(secret, member.email if member else name, client)
    state = _admitted(pair)
    if secret is Secret.PASSWORD:
        with queue.turn(pair.network, has_failures=state.has_failures):
            state = _admitted(pair)  # others may have failed meanwhile
            result = check()
    else:
        result = check()
    if result:
        count_success(pair)
    else:
        failures = count_failure(pair, also_network=not state.succeeded_lately)
        record_failure(pair, failures, member, actor, operation)
    return result


def limit_use(secret: Secret, name: str, client: str) -> None:
    """Count one use of a form that strangers can use, such as a password reset. Raises TooManyFailures."""
    pair = Pair(secret, name, client)
    _admitted(pair)
    count_failure(pair, also_network=True)


def _admitted(pair: Pair) -> State:
    state = state_of(pair)
    if state.wait_seconds:
        log.info("sign_in_throttled", client=pair.client, secret=pair.secret.value, seconds=state.wait_seconds)
        raise TooManyFailures(state.wait_seconds)
    return state
