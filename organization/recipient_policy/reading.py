"""Stages' policies as they are stored and in force now."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common import sql
from organization import statements
from organization.models import Stage
from organization.recipient_policy.policy import PolicyState


def query_policy(stage_id: int) -> Callable[[], PolicyState]:
    """What is in force in the stage now; read when it is called (see sql.query_lazy)."""
    rows = sql.query_lazy(statements.POLICIES, [stage_id])
    return lambda: rows()[0].policy


def policy_of(stage: Stage) -> PolicyState:
    """What is in force in the stage now."""
    return query_policy(stage.pk)()


def policies_of(stage_ids: Iterable[int]) -> dict[int, PolicyState]:
    """What is in force in these stages now, by the stage's number."""
    return {row.stage_id: row.policy for row in sql.fetch(statements.POLICIES, list(stage_ids))}
