"""A stage's policy as it is stored and in force now: read with the route of each email, so as part of another statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection

from common import sql
from common.clock import now_in_sql
from organization.models import Stage
from organization.recipient_policy.policy import AllowedPattern, PolicyState, RecipientPolicy


def policy_columns(stage: str) -> str:
    """The columns that state_from() reads; `stage` is what the statement calls the stage's table.

    Patterns have no line break, and no version has a space: one text holds them all.
    """
    now = now_in_sql()
    entry = "allowed.version || ' ' || allowed.pattern"
    joined = f"string_agg({entry}, chr(10))" if connection.vendor == "postgresql" else f"group_concat({entry}, char(10))"
    return f"""
        CASE WHEN {stage}.policy_until <= {now} THEN {stage}.policy_afterwards ELSE {stage}.recipient_policy END,
        {stage}.policy_version, {stage}.listed_since, {stage}.open_since,
        (SELECT {joined} FROM organization_allowedaddress allowed
         WHERE allowed.stage_id = {stage}.id AND (allowed.until IS NULL OR allowed.until > {now}))
    """  # noqa: S608  # names of a table alone


def state_from(row: Sequence[Any]) -> PolicyState:
    """What policy_columns() returned."""
    policy, version, listed_since, open_since, allowed = row
    return PolicyState(RecipientPolicy(policy), _patterns(allowed), version, listed_since, open_since)


def _patterns(joined: str | None) -> tuple[AllowedPattern, ...]:
    if not joined:
        return ()
    entries = (line.split(" ", 1) for line in joined.split("\n"))
    return tuple(AllowedPattern(pattern, int(version)) for version, pattern in entries)


def query_policy(stage_id: int) -> Callable[[], PolicyState]:
    """What is in force in the stage now; read when it is called (see sql.ask)."""
    rows = sql.ask(f"SELECT {policy_columns('stage')} FROM organization_stage stage WHERE stage.id = %s", stage_id)  # noqa: S608
    return lambda: state_from(rows()[0])


def policy_of(stage: Stage) -> PolicyState:
    """What is in force in the stage now. For pages and commands, which ask for one stage."""
    return query_policy(stage.pk)()
