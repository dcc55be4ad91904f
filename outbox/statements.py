"""The statements written by hand that name tables of this app."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from common import sql
from organization.recipient_policy.policy import PolicyState
from organization.statements import policy_columns, policy_state

# In the order of a new message's row (see submission).
_MESSAGE_COLUMNS = (
    "app_id", "stage_id", "credential_id", "via", "envelope_sender", "requested", "from_address", "subject", "message_id",
    "size", "invitation", "search_text", "route", "list_version", "policy_version", "notes", "resent_from", "status",
    "hold_reason", "owner",
)  # fmt: skip
_RECIPIENT_COLUMNS = ("message_id", "address", "name", "rule", "status", "tries", "last_reply", "finished")


def new_messages(rows: Sequence[Sequence[object]]) -> sql.Rows:
    """Each row begins with the message's number."""
    return sql.Rows("outbox_message", ("id", *_MESSAGE_COLUMNS), rows)


def new_contents(rows: Sequence[tuple[int, bytes]]) -> sql.Rows:
    return sql.Rows("outbox_content", ("message_id", "data"), rows, types=("bigint", "bytea"))


def new_recipients(rows: Sequence[Sequence[object]]) -> sql.Rows:
    return sql.Rows("outbox_recipient", _RECIPIENT_COLUMNS, rows)


class ListPolicyAndSender(NamedTuple):
    """What routes an app's messages in a stage, and the stage's sender; None where it has no settings, or no list.

    `paused`: a person paused the app's messages there, or the whole stage's.
    """

    list_id: int | None
    active: bool | int
    version: int
    active_version: int
    is_over: bool | int | None
    stage_sender: str | None
    paused: bool | int
    policy: PolicyState


def _list_policy_and_sender(
    list_id: int | None,
    active: bool | int,
    version: int,
    active_version: int,
    is_over: bool | int | None,
    stage_sender: str | None,
    paused: bool | int,
    *policy: Any,
) -> ListPolicyAndSender:
    return ListPolicyAndSender(list_id, active, version, active_version, is_over, stage_sender, paused, policy_state(*policy))


# It takes the app twice, then the stage.
LIST_POLICY_AND_SENDER = sql.query(
    _list_policy_and_sender,
    lambda db: (
        f"""
        SELECT list.id, list.active, list.version, list.active_version, list.active_until <= {db.now},
               (SELECT sender_address FROM emailconfig_smtpsettings settings WHERE settings.stage_id = stage.id),
               EXISTS (SELECT 1 FROM outbox_pause pause
                       WHERE pause.stage_id = stage.id AND (pause.app_id = %s OR pause.app_id IS NULL)),
               {policy_columns(db, "stage")}
        FROM organization_stage stage
        LEFT JOIN testlists_testlist list ON list.stage_id = stage.id AND list.app_id = %s
        WHERE stage.id = %s
    """
    ),
)


class BacklogRow(NamedTuple):
    """The messages of one app that wait in a stage: how many, and since when the first of them."""

    stage_id: int
    app_id: int
    hold_reason: str
    messages: int
    oldest: datetime | str


_FIRST_OF_STAGE = """
    SELECT * FROM (
        SELECT id, stage_id, app_id, hold_reason, route, created FROM outbox_message WHERE stage_id = %s AND status = %s
        ORDER BY due, id LIMIT %s
    ) AS first
"""


def _first_messages(stages: int) -> str:
    """The first messages of each stage. Its parameters for each: the stage, a status, and a limit."""
    return f"({' UNION ALL '.join([_FIRST_OF_STAGE] * stages)}) AS message"


@cache
def backlog_by_app(stages: int) -> sql.Query[BacklogRow]:
    """The first messages of each stage, counted by app."""
    return sql.query(
        BacklogRow,
        f"""
        SELECT stage_id, app_id, hold_reason, count(*), min(created) FROM {_first_messages(stages)}
        GROUP BY stage_id, app_id, hold_reason
        """,
    )


class HeldRow(NamedTuple):
    """Held messages of one app in a stage, of one reason: how many, and since when the first of them."""

    stage_id: int
    app_id: int
    hold_reason: str
    is_test_mail: bool | int
    messages: int
    oldest: datetime | str


class HeldAddress(NamedTuple):
    stage_id: int
    app_id: int
    address: str


@cache
def held_by_app(stages: int) -> sql.Query[HeldRow]:
    """The first messages of each stage, counted by app and by whether they are test mail."""
    return sql.query(
        HeldRow,
        f"""
        SELECT stage_id, app_id, hold_reason, route = 'test_list', count(*), min(created) FROM {_first_messages(stages)}
        GROUP BY stage_id, app_id, hold_reason, route = 'test_list'
        """,
    )


@cache
def held_addresses(stages: int) -> sql.Query[HeldAddress]:
    """Whom the same messages are for, test mail aside. Its last parameter is how many addresses at most."""
    return sql.query(
        HeldAddress,
        f"""
        SELECT DISTINCT message.stage_id, message.app_id, recipient.address FROM {_first_messages(stages)}
        JOIN outbox_recipient recipient ON recipient.message_id = message.id
        WHERE message.route <> 'test_list' AND recipient.status = 'held' LIMIT %s
        """,
    )


class RecentMessage(NamedTuple):
    id: int
    route: str
    status: str
    invitation: bool | int


# Written so that nothing but the log's index (stage, id) gives this order. For `stage_id = … ORDER BY id` PostgreSQL may
# walk down the numbers of all stages instead, and reads millions when this stage has been quiet.
_NEWEST_OF_STAGE = "FROM outbox_message WHERE stage_id BETWEEN %s AND %s ORDER BY stage_id DESC, id DESC"
RECENT_OF_APP = sql.query(
    RecentMessage,
    f"""
    SELECT id, route, status, invitation
    FROM (SELECT id, app_id, route, status, invitation, created {_NEWEST_OF_STAGE} LIMIT %s) AS newest
    WHERE app_id = %s AND created >= %s ORDER BY id DESC LIMIT %s
    """,
)
IS_RECENT = sql.query(bool, f"SELECT created >= %s {_NEWEST_OF_STAGE} LIMIT 1 OFFSET %s")

# PostgreSQL's channel for hints.
_CHANNEL = "outbox_due"
NOTIFY = sql.statement(f"NOTIFY {_CHANNEL}")
LISTEN = sql.statement(f"LISTEN {_CHANNEL}")
