"""The statements written by hand that name tables of this app."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import NamedTuple

from common import sql
from common.inserts import Rows, Snapshot
from organization.statements import policy_columns
from testlists.statements import list_columns

# In the order of a new message's row (see submission).
_MESSAGE_COLUMNS = {
    "id": "bigint", "app_id": "bigint", "stage_id": "bigint", "credential_id": "bigint", "via": "varchar",
    "envelope_sender": "varchar", "requested": "jsonb", "from_address": "varchar", "subject": "varchar", "message_id": "varchar",
    "size": "integer", "invitation": "boolean", "search_text": "text", "route": "varchar", "list_version": "integer",
    "policy_version": "integer", "notes": "jsonb", "resent_from": "bigint", "status": "varchar", "hold_reason": "varchar",
    "owner": "varchar",
}  # fmt: skip
_RECIPIENT_COLUMNS = {
    "message_id": "bigint", "address": "varchar", "name": "varchar", "rule": "varchar", "status": "varchar", "tries": "smallint",
    "last_reply": "text", "finished": "timestamptz",
}  # fmt: skip
_STATE_COLUMNS = {"app_key": "varchar", "stage_key": "varchar", "credential_id": "bigint", "snapshot": "text"}


def new_messages(rows: Sequence[Sequence[object]]) -> Rows:
    """Each row begins with the message's number."""
    return Rows("outbox_message", (*_MESSAGE_COLUMNS,), rows, types=(*_MESSAGE_COLUMNS.values(),))


def new_contents(rows: Sequence[tuple[int, bytes]]) -> Rows:
    return Rows("outbox_content", ("message_id", "data"), rows, types=("bigint", "bytea"))


def new_recipients(rows: Sequence[Sequence[object]]) -> Rows:
    return Rows("outbox_recipient", (*_RECIPIENT_COLUMNS,), rows, types=(*_RECIPIENT_COLUMNS.values(),))


def _routing_state(db: sql.Dialect) -> str:
    """All that accepting an app's message in a stage depends on, as JSON (see routing_state); NULL without app or stage.

    It is read and compared as one text, so that nothing that is read can be left out of the comparison. It tells what is in force
    at this moment by the database's clock, such as whether the list has expired, and never the time itself.
    """
    return f"""
        (SELECT CAST({db.json_array}(
            app.id, stage.id, CASE WHEN app.archived THEN app.name WHEN stage.archived THEN stage.name END,
            (SELECT credential.revoked_at IS NULL AND (credential.ends IS NULL OR credential.ends >= {db.today})
             FROM organization_credential credential
             WHERE credential.id = known.credential_id AND credential.app_id = app.id AND credential.stage_id = stage.id),
            (SELECT sender_address FROM emailconfig_smtpsettings settings WHERE settings.stage_id = stage.id),
            EXISTS (SELECT 1 FROM outbox_pause pause
                    WHERE pause.stage_id = stage.id AND (pause.app_id = app.id OR pause.app_id IS NULL)),
            {list_columns(db)},
            {policy_columns(db, "stage")}) AS text)
         FROM organization_app app JOIN organization_stage stage ON stage.key = known.stage_key
         LEFT JOIN testlists_testlist list ON list.stage_id = stage.id AND list.app_id = app.id
         WHERE app.key = known.app_key)
    """


def _as_read(snapshot: str | None) -> str | None:
    return snapshot


_ROUTING_STATE = sql.statement(_routing_state)
# It takes the keys of app and stage, and a credential's number or None.
ROUTING_STATE = sql.query(
    _as_read,
    lambda db: (
        f"SELECT {_routing_state(db)} FROM (SELECT CAST(%s AS varchar) AS app_key, CAST(%s AS varchar) AS stage_key,"
        " CAST(%s AS bigint) AS credential_id) AS known"
    ),
)


def routing_states(rows: Sequence[Sequence[object]]) -> Snapshot:
    """What was read: the parameters of ROUTING_STATE, and its result."""
    return Snapshot(_ROUTING_STATE, Rows("", (*_STATE_COLUMNS,), rows, types=(*_STATE_COLUMNS.values(),)))


class BacklogRow(NamedTuple):
    """The messages of one app that wait in a stage: how many, and since when the first of them."""

    stage_id: int
    app_id: int
    messages: int
    oldest: datetime | str


def _first_messages(db: sql.Dialect, limit: int, condition: str = "", order: str = "due, id") -> str:
    """The first messages of each stage, of each status. Its parameters: the stages, the statuses, and those of the condition.

    The statuses are parameters, so that nothing but the queue's index fits, which has the order. With 'held' in its text
    PostgreSQL took message_held, and read and sorted all that a stage holds. The limit is a part of the text for the plan's sake.
    """
    first = f"FROM outbox_message WHERE stage_id = place.value AND status = kind.value{condition} ORDER BY {order} LIMIT {limit}"
    places = f"{db.each_of('bigint')} AS place CROSS JOIN {db.each_of('text')} AS kind CROSS JOIN"
    if db.has_lateral:
        columns = "id, stage_id, status, app_id, hold_reason, route, created"
        return f"{places} LATERAL (SELECT {columns} {first}) AS message"
    return f"{places} outbox_message AS message ON message.id IN (SELECT id {first})"


@cache
def backlog_by_app(limit: int) -> sql.Query[BacklogRow]:
    """The first messages of each stage, of each status, counted by stage and app."""
    return sql.query(
        BacklogRow,
        lambda db: f"SELECT stage_id, app_id, count(*), min(created) FROM {_first_messages(db, limit)} GROUP BY 1, 2",
    )


class BacklogSum(NamedTuple):
    """The messages of a stage that have this status: how many, and since when the first of them. 0: of all its apps."""

    stage_id: int
    status: str
    app_id: int
    messages: int
    oldest: datetime | str


@cache
def backlog_sums(limit: int) -> sql.Query[BacklogSum]:
    """The first messages of each stage and status. They are counted by app, but not in the stages of its first parameter."""
    return sql.query(
        BacklogSum,
        lambda db: (
            f"""
        SELECT stage_id, status, CASE WHEN stage_id {db.any_of} THEN 0 ELSE app_id END, count(*), min(created)
        FROM {_first_messages(db, limit)} GROUP BY 1, 2, 3
        """
        ),
    )


class FailedRow(NamedTuple):
    """Failed messages of a stage among the newest, or among those since a time: how many were read, and how many count."""

    is_new: bool | int
    stage_id: int
    app_id: int  # 0: of all its apps
    read: int
    counted: int


@cache
def failed_messages(limit: int) -> sql.Query[FailedRow]:
    """The failed messages of each stage, twice: the newest since a time, and the oldest since another one.

    Its parameters: the stages that aren't counted by app; the first moment that counts among the newest, and the first and
    the last among the others; the stages, the status and the time since when they are due, for the newest and for the others.
    """

    def failed(db: sql.Dialect, is_new: int, order: str) -> str:
        first = _first_messages(db, limit, " AND due >= %s", order)
        return f"SELECT {is_new} AS is_new, stage_id, app_id, created FROM {first}"

    return sql.query(
        FailedRow,
        lambda db: (
            f"""
        SELECT is_new, stage_id, CASE WHEN stage_id {db.any_of} THEN 0 ELSE app_id END, count(*),
               count(*) FILTER (WHERE is_new = 1 AND created >= %s OR is_new = 0 AND created BETWEEN %s AND %s)
        FROM ({failed(db, 1, "due DESC, id DESC")} UNION ALL {failed(db, 0, "due, id")}) AS failed GROUP BY 1, 2, 3
        """
        ),
    )


class HeldRow(NamedTuple):
    """Held messages of one app in a stage, of one reason: how many, and since when the first of them."""

    stage_id: int
    app_id: int
    hold_reason: str
    is_test_mail: bool | int
    messages: int
    oldest: str  # because there are hundreds of rows, of which few are shown with a time


class HeldAddress(NamedTuple):
    stage_id: int
    app_id: int
    address: str


@cache
def held_by_app(limit: int) -> sql.Query[HeldRow]:
    """The first messages of each stage, counted by app and by whether they are test mail."""
    return sql.query(
        HeldRow,
        lambda db: (
            f"""
        SELECT stage_id, app_id, hold_reason, route = 'test_list', count(*), CAST(min(created) AS text)
        FROM {_first_messages(db, limit)} GROUP BY 1, 2, 3, 4
        """
        ),
    )


@cache
def held_addresses(limit: int) -> sql.Query[HeldAddress]:
    """Whom the same messages are for, test mail aside. Its last parameter is how many addresses at most."""
    return sql.query(
        HeldAddress,
        lambda db: (
            f"""
        SELECT DISTINCT message.stage_id, message.app_id, recipient.address FROM {_first_messages(db, limit)}
        JOIN outbox_recipient recipient ON recipient.message_id = message.id
        WHERE message.route <> 'test_list' AND recipient.status = 'held' LIMIT %s
        """
        ),
    )


class HeldPlace(NamedTuple):
    """An app in a stage that has held test mail, and why it is held."""

    hold_reason: str
    app_id: int
    stage_id: int


# Without parameters, so that both databases know that the index of held messages has all that it asks for.
HELD_TEST_MAIL = sql.query(
    HeldPlace,
    """
    SELECT DISTINCT hold_reason, app_id, stage_id FROM outbox_message
    WHERE status = 'held' AND route = 'test_list'
    AND hold_reason IN ('stage_not_configured', 'paused', 'test_list_empty', 'test_list_missing', 'list_time_over')
    """,
)


# Its parameter is a JSON array of objects with a message's id, the number of the message that repeats it, and all its notes.
NOTE_RESENDS = sql.Statement(
    sqlite="""
    UPDATE outbox_message SET resent_as = json_extract(repeat.value, '$.resent_as'), notes = json_extract(repeat.value, '$.notes')
    FROM json_each(%s) AS repeat WHERE outbox_message.id = json_extract(repeat.value, '$.id')
    """,
    postgresql="""
    UPDATE outbox_message SET resent_as = repeat.resent_as, notes = repeat.notes
    FROM json_to_recordset(%s) AS repeat (id bigint, resent_as bigint, notes jsonb) WHERE outbox_message.id = repeat.id
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
