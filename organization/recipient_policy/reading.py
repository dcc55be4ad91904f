"""A stage's policy as it is stored and in force now."""

from __future__ import annotations

from collections.abc import Callable

from common import sql
from organization import statements
from organization.models import Stage
from organization.recipient_policy.policy import PolicyState


def query_policy(stage_id: int) -> Callable[[], PolicyState]:
    """What is in force in the stage now; read when it is called (see sql.ask)."""
    rows = sql.ask(statements.POLICY, stage_id)
    return lambda: rows()[0]


def policy_of(stage: Stage) -> PolicyState:
    """What is in force in the stage now. For pages and commands, which ask for one stage."""
    return query_policy(stage.pk)()
