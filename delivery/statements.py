"""The statements written by hand that a worker runs. Each of its batches runs most of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import NamedTuple

from common import sql
from common.inserts import Rows
from organization.statements import IS_NO_COPY_SQL, kept_headers_sql
from outbox.models import WAITING
from testlists.statements import try_shared_lock_sql

# Larger messages are read in pieces while they are sent.
_LARGE_BYTES = 256 * 1024
_ATTEMPT_COLUMNS = (
    *("message_id", "address", "rule", "claimed", "outcome", "step", "code", "reply"),
    *("server", "settings_version", "seconds"),
)


class DueMessage(NamedTuple):
    """A due message as it is read for a claim. `content` is None for a large one."""

    due: datetime | str
    pk: int
    app_id: int
    app_key: str
    stage_key: str
    stage_name: str
    via: str
    envelope_sender: str
    message_id: str
    created: datetime | str
    size: int
    route: str
    list_version: int
    policy_version: int
    short_lines: bool | int
    kept_headers: str | None
    credential: str | None
    content: bytes | memoryview | None


@cache
def due_messages(limit: int) -> sql.Query[DueMessage]:
    """The oldest messages that were never tried, and the oldest that are tried again: up to `limit` of each.

    Its parameters are the stage, once for each of WAITING. It skips messages that another worker is claiming, and messages
    whose test list is being saved at this moment. The limit is a part of the statement, so that PostgreSQL keeps the plan,
    which takes longer to make than to run.
    """
    return sql.query(DueMessage, lambda db: " UNION ALL ".join(_due_of_one_status(db, status.value, limit) for status in WAITING))


def _due_of_one_status(db: sql.Dialect, status: str, limit: int) -> str:
    """They are selected before anything is joined to them. Otherwise PostgreSQL may plan to read all due messages and sort them.

    It did so when it planned while few messages waited, and kept the plan when thousands came.
    """
    return f"""
        SELECT * FROM (
            SELECT mail.due, mail.id, mail.app_id, app.key, stage.key, stage.name, mail.via,
                   mail.envelope_sender, mail.message_id, mail.created, mail.size, mail.route, mail.list_version,
                   mail.policy_version, mail.short_lines, {kept_headers_sql(db, "mail.stage_id", "mail.created")},
                   (SELECT username FROM organization_credential credential WHERE credential.id = mail.credential_id),
                   CASE WHEN mail.size <= {_LARGE_BYTES} THEN
                       (SELECT data FROM outbox_content content WHERE content.message_id = mail.id) END
            FROM (
                SELECT * FROM outbox_message WHERE stage_id = %s AND status = '{status}' AND due <= {db.now}
                AND {try_shared_lock_sql(db, "app_id", "stage_id")}
                ORDER BY due, id LIMIT {limit}{db.for_update(skip=True)}
            ) AS mail
            JOIN organization_app app ON app.id = mail.app_id JOIN organization_stage stage ON stage.id = mail.stage_id
        ) AS {status}
    """


class MessageRecipient(NamedTuple):
    message_id: int
    status: str
    due: bool | int
    pk: int
    address: str
    name: str
    tries: int
    rule: str


RECIPIENTS = sql.query(
    MessageRecipient,
    lambda db: (
        f"SELECT message_id, status, due <= %s, id, address, name, tries, rule FROM outbox_recipient WHERE message_id {db.any_of}"
    ),
)


class Brake(NamedTuple):
    """One pause of a stage, and what its back-off says; without a pause one row for that alone."""

    paused: bool | int
    app_id: int | None  # None: the whole stage
    failing_since: datetime | str | None
    too_late_before: datetime | str | None


# It takes the stage twice.
BRAKES = sql.query(
    Brake,
    """
    SELECT pause.id IS NOT NULL, pause.app_id, CASE WHEN backoff.failures > 0 THEN backoff.since END, backoff.too_late_before
    FROM (SELECT 1) AS one LEFT JOIN outbox_pause pause ON pause.stage_id = %s
    LEFT JOIN outbox_stagequeue backoff ON backoff.stage_id = %s
    """,
)
CONTENT_PIECE = sql.query(bytes, "SELECT substr(data, %s, %s) FROM outbox_content WHERE message_id = %s")

# `queued → sending`, of the recipients and of their messages.
CLAIM = sql.pair(
    sql.statement(lambda db: f"UPDATE outbox_recipient SET status = 'sending' WHERE id {db.any_of}"),
    sql.statement(lambda db: f"UPDATE outbox_message SET status = 'sending', owner = %s, lease_until = %s WHERE id {db.any_of}"),
)


class HeldMessage(NamedTuple):
    pk: int
    owner: str


# Selects those of these messages that are under a lease, and locks their rows.
UNDER_LEASE = sql.query(
    HeldMessage,
    lambda db: (
        f"SELECT id, owner FROM outbox_message WHERE id {db.any_of} AND status = 'sending' AND lease_until > {db.now}"
        f" ORDER BY id{db.for_update()}"
    ),
)
RENEW_LEASES = sql.statement(lambda db: f"UPDATE outbox_message SET lease_until = %s WHERE id {db.any_of}")


def new_attempts(rows: Sequence[Sequence[object]]) -> Rows:
    return Rows("outbox_attempt", _ATTEMPT_COLUMNS, rows)


# `sending → sent`, of recipients alone, and of messages that are sent to all of theirs.
RECIPIENTS_SENT = sql.statement(
    lambda db: (
        f"UPDATE outbox_recipient SET status = 'sent', tries = tries + 1, last_reply = '', finished = %s WHERE id {db.any_of}"
    )
)
MESSAGES_SENT = sql.pair(
    RECIPIENTS_SENT,
    sql.statement(lambda db: f"UPDATE outbox_message SET status = 'sent', owner = '', lease_until = NULL WHERE id {db.any_of}"),
)


class SettingsNow(NamedTuple):
    """The time, and the settings of one of the stages. When no stage has settings there is one row with the time.

    In a copy that nobody has answered about, no stage has settings, so that nothing is claimed.
    """

    now: datetime | str
    stage_id: int | None
    settings_version: int | None
    backoff_is_over: bool | int | None


# Its parameters: the stages, and the seal that the database must have.
SETTINGS_NOW = sql.query(
    SettingsNow,
    lambda db: (
        f"""
        SELECT {db.now}, settings.stage_id, settings.version,
               queue.failures > 0 AND queue.retry_at <= {db.now} OR queue.deferring_since IS NOT NULL
        FROM (SELECT 1) AS one
        LEFT JOIN emailconfig_smtpsettings settings ON settings.stage_id {db.any_of} AND {IS_NO_COPY_SQL}
        LEFT JOIN outbox_stagequeue queue ON queue.stage_id = settings.stage_id
    """
    ),
)


def _first_due(db: sql.Dialect) -> str:
    """The first due message of each waiting status. Not EXISTS: without statistics PostgreSQL reads the whole queue for it."""
    return ", ".join(
        f"(SELECT 1 FROM outbox_message WHERE stage_id = stage.id AND status = '{status.value}' AND due <= {db.now} LIMIT 1)"
        for status in WAITING
    )


class DueStage(NamedTuple):
    """A stage with due messages, and the limits of its settings. Without settings it may have no connections."""

    pk: int
    connections: int
    mails_per_minute: int


# Its parameter is the seal that the database must have. In a copy that nobody has answered about, no message is due.
STAGES_WITH_DUE_MESSAGES = sql.query(
    DueStage,
    lambda db: (
        f"""
        SELECT stage.id, COALESCE(settings.connections, 0), COALESCE(settings.mails_per_minute, 0)
        FROM organization_stage stage
        LEFT JOIN emailconfig_smtpsettings settings ON settings.stage_id = stage.id
        WHERE {IS_NO_COPY_SQL} AND COALESCE({_first_due(db)}) = 1
    """
    ),
)
# One row for each that is due, up to a limit.
DUE_OF_ONE_STATUS = sql.query(int, "SELECT 1 FROM outbox_message WHERE stage_id = %s AND status = %s AND due <= %s LIMIT %s")

# The share of a stage's limit that a worker reserves, and what it gives back. Neither waits for a row that another worker has
# locked, because that worker may have been stopped. RESERVE returns nothing then, or when another worker was faster.
RESERVE = sql.query(
    int,
    lambda db: (
        f"""
        UPDATE outbox_stagequeue SET allowance = %s, allowance_at = %s WHERE stage_id IN (
            SELECT stage_id FROM outbox_stagequeue
            WHERE stage_id = %s AND allowance = %s AND (allowance_at = %s OR allowance_at IS NULL){db.for_update(skip=True)}
        ) RETURNING stage_id
    """
    ),
)
GIVE_BACK = sql.statement(
    lambda db: (
        "UPDATE outbox_stagequeue SET allowance = allowance + %s WHERE stage_id IN"
        f" (SELECT stage_id FROM outbox_stagequeue WHERE stage_id = %s{db.for_update(skip=True)})"
    )
)
