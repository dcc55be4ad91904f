"""The statements written by hand that name tables of this app."""

from __future__ import annotations

from typing import Any, NamedTuple

from common import sql
from organization.models import App, Stage
from organization.recipient_policy.policy import AllowedPattern, PolicyState, RecipientPolicy

_PLACE_COLUMNS = "app.id, app.key, app.name, app.archived, stage.id, stage.key, stage.name, stage.archived"


class Place(NamedTuple):
    """An app in a stage, with what accepting a message reads of them."""

    app: App
    stage: Stage


def _place(
    app_id: int,
    app_key: str,
    app_name: str,
    app_archived: Any,
    stage_id: int,
    stage_key: str,
    stage_name: str,
    stage_archived: Any,
) -> Place:
    return Place(
        sql.partly_read(App, id=app_id, key=app_key, name=app_name, archived=bool(app_archived)),
        sql.partly_read(Stage, id=stage_id, key=stage_key, name=stage_name, archived=bool(stage_archived)),
    )


APP_AND_STAGE = sql.query(
    _place,
    f"SELECT {_PLACE_COLUMNS} FROM organization_app app, organization_stage stage WHERE app.key = %s AND stage.key = %s",
)


def kept_headers_sql(db: sql.Dialect, stage_column: str, accepted_column: str) -> str:
    """A column: the names of the fields kept when the message was accepted, in lower case and separated by spaces."""
    names = f"{db.string_agg}(lower(kept.name), ' ')"
    kept = f"kept.stage_id = {stage_column} AND kept.created <= {accepted_column}"
    return f"(SELECT {names} FROM organization_keptheader kept WHERE {kept})"


def policy_columns(db: sql.Dialect, stage: str) -> str:
    """The columns of policy_state(); `stage` is what the statement calls the stage's table.

    The allowed patterns are one text. No pattern has a line break, and no version a space.
    """
    in_force = f"allowed.stage_id = {stage}.id AND (allowed.until IS NULL OR allowed.until > {db.now})"
    entries = f"SELECT version || ' ' || pattern AS entry FROM organization_allowedaddress allowed WHERE {in_force} ORDER BY id"
    return f"""
        CASE WHEN {stage}.policy_until <= {db.now} THEN {stage}.policy_afterwards ELSE {stage}.recipient_policy END,
        {stage}.policy_version, {stage}.listed_since, {stage}.open_since, {stage}.kind,
        (SELECT {db.string_agg}(entry, '\n') FROM ({entries}) AS in_force)
    """


def policy_state(policy: str, version: int, listed_since: int, open_since: int, kind: str, allowed: str | None) -> PolicyState:
    """What is in force in a stage, from its policy_columns()."""
    entries = (line.split(" ", 1) for line in (allowed or "").splitlines())
    patterns = tuple(AllowedPattern(pattern, int(since)) for since, pattern in entries)
    is_production = kind == Stage.Kind.PRODUCTION
    return PolicyState(RecipientPolicy(policy), patterns, version, listed_since, open_since, is_production)


class StagePolicy(NamedTuple):
    """A stage's number, and what is in force in it."""

    stage_id: int
    policy: PolicyState


def _stage_policy(stage_id: int, *policy: Any) -> StagePolicy:
    return StagePolicy(stage_id, policy_state(*policy))


POLICIES = sql.query(
    _stage_policy,
    lambda db: f"SELECT stage.id, {policy_columns(db, 'stage')} FROM organization_stage stage WHERE stage.id {db.any_of}",
)


class Database(NamedTuple):
    """The PostgreSQL database that a connection leads to, and whether its role may read the cluster's identifier."""

    name: str
    oid: int
    may_read_cluster: bool


DATABASE = sql.query(
    Database,
    """
    SELECT datname, oid::bigint, has_function_privilege('pg_control_system()', 'EXECUTE')
    FROM pg_database WHERE datname = current_database()
    """,
)
SYSTEM_IDENTIFIER = sql.query(str, "SELECT system_identifier FROM pg_control_system()")

# A condition: the database is sealed with the identity that is the parameter, or has no seal.
IS_NO_COPY_SQL = "NOT EXISTS (SELECT 1 FROM organization_installation WHERE seal <> %s)"
IS_NO_COPY = sql.query(bool, f"SELECT {IS_NO_COPY_SQL}")


AUDIT_TABLE = "organization_auditevent"
KEPT_DAYS = 90
_REFUSAL = "The audit trail is append-only."


def _sqlite_trigger(name: str, event: str, condition: str) -> str:
    begin = f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON {AUDIT_TABLE} {condition}"
    return f"{begin} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"


def _postgresql_trigger(name: str, event: str, condition: str) -> str:
    begin = f"CREATE OR REPLACE TRIGGER {name} BEFORE {event} ON {AUDIT_TABLE} FOR EACH ROW {condition}"
    return f"{begin} EXECUTE FUNCTION refuse_change_of_audit_trail()"


# Run in this order. SQLite needs no function.
APPEND_ONLY_TRIGGERS = (
    sql.Statement(
        "",
        f"""
        CREATE OR REPLACE FUNCTION refuse_change_of_audit_trail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation'; END $$
    """,
    ),
    sql.Statement(
        _sqlite_trigger("audit_trail_update", "UPDATE", ""),
        _postgresql_trigger("audit_trail_update", "UPDATE", ""),
    ),
    sql.Statement(
        _sqlite_trigger("audit_trail_delete", "DELETE", f"WHEN julianday(OLD.at) > julianday({sql.SQLITE.now}) - {KEPT_DAYS}"),
        _postgresql_trigger(
            "audit_trail_delete", "DELETE", f"WHEN (OLD.at > {sql.POSTGRESQL.now} - interval '{KEPT_DAYS} days')"
        ),
    ),
)
