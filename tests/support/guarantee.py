"""Short ways to query the guarantee of a stage in tests."""

from __future__ import annotations

from analytics.guarantee.figures import Figures
from organization.models import Stage
from outbox.access.visibility import LogAccess


def all_access(stage: Stage) -> LogAccess:
    return LogAccess(stage, every_app=True, every_app_open=True)


def reached(figures: Figures) -> dict[str, int]:
    """How many recipients got email by each rule, without zeros."""
    return {rule.value: count for rule, count in figures.recipients.items() if count}
