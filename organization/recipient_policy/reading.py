"""Stages' policies as they are stored and in force now."""

from __future__ import annotations

from collections.abc import Iterable

from common import sql
from organization import statements
from organization.models import Stage
from organization.recipient_policy.policy import PolicyState


def policy_of(stage: Stage) -> PolicyState:
    """What is in force in the stage now."""
    return policies_of([stage.pk])[stage.pk]


def policies_of(stage_ids: Iterable[int]) -> dict[int, PolicyState]:
    """What is in force in these stages now, by the stage's number."""
    return {row.stage_id: row.policy for row in sql.fetch(statements.POLICIES, list(stage_ids))}
