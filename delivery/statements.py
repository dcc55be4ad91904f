"""The statements written by hand that a worker runs. Each of its batches runs most of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from common import sql
from common.inserts import Rows
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from organization.statements import IS_NO_COPY_SQL, kept_headers_sql, policy_columns, policy_state
from outbox.models import WAITING
from testlists.state import ListState
from testlists.statements import list_columns, list_state, try_shared_lock_sql

# Larger messages are read in pieces while they are sent.
_LARGE_BYTES = 256 * 1024
_ATTEMPT_COLUMNS = (
    *("message_id", "address", "rule", "claimed", "outcome", "step", "code", "reply"),
    *("server", "settings_version", "seconds"),
)


class DueMessage(NamedTuple):
    """A message that a claim has just marked as sending. `content` is None for a large one."""

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


def at_least(count: int) -> int:
    """The limit to look with for `count` messages: the next of 1, 2, 3, 4, 6, 8, 12 and so on.

    With few limits PostgreSQL keeps few plans. The price is that a few more messages are looked at than claimed.
    """
    power = 1 << (count - 1).bit_length()
    less = power * 3 // 4
    return less if less >= count else power


@cache
def claim_messages(limit: int) -> sql.Query[DueMessage]:
    """`queued → sending`: mark a stage's oldest due messages as sending, and return them.

    Its parameters: the claim's name and the seconds of its lease; the stage, once for each of WAITING; how many at most, up to
    `limit`; the stage again, the version of its settings, and the seal that the database must have. In a copy that nobody has
    answered about, or when the settings are others, it claims nothing.

    It skips messages that another worker is claiming, and messages whose test list is being saved at this moment. The limit is a
    part of the statement, so that PostgreSQL keeps the plan, which takes longer to make than to run.
    """
    return sql.query(DueMessage, lambda db: _claim_messages(db, limit))


def _claim_messages(db: sql.Dialect, limit: int) -> str:
    waiting = " UNION ALL ".join(_due_of_one_status(db, status.value, limit) for status in WAITING)
    oldest = f"SELECT id FROM ({waiting}) AS waiting ORDER BY due, id LIMIT %s"
    configured = f"EXISTS (SELECT 1 FROM emailconfig_smtpsettings WHERE stage_id = %s AND version = %s) AND {IS_NO_COPY_SQL}"
    return f"""
        UPDATE outbox_message SET status = 'sending', owner = %s, lease_until = {db.seconds_from_now}
        WHERE id {db.any_of_query(oldest)} AND {configured}
        RETURNING due, id, app_id,
               (SELECT key FROM organization_app app WHERE app.id = app_id),
               (SELECT key FROM organization_stage stage WHERE stage.id = stage_id),
               (SELECT name FROM organization_stage stage WHERE stage.id = stage_id), via,
               envelope_sender, message_id, created, size, route, list_version,
               policy_version, short_lines, {kept_headers_sql(db, "outbox_message.stage_id", "outbox_message.created")},
               (SELECT username FROM organization_credential credential WHERE credential.id = credential_id),
               CASE WHEN size <= {_LARGE_BYTES} THEN
                   (SELECT data FROM outbox_content content WHERE content.message_id = outbox_message.id) END
    """


def _due_of_one_status(db: sql.Dialect, status: str, limit: int) -> str:
    """The index gives their order. Sorting all that is due would cost each claim of a burst."""
    return f"""
        SELECT * FROM (
            SELECT due, id FROM outbox_message WHERE stage_id = %s AND status = '{status}' AND due <= {db.now}
            AND {try_shared_lock_sql(db, "app_id", "stage_id")}
            ORDER BY due, id LIMIT {limit}{db.for_update(skip=True)}
        ) AS {status}
    """


def _of_claimed(db: sql.Dialect, column: str) -> str:
    """A condition: it is this column of a message that was claimed. Its parameter is the name of the claim.

    The stage isn't named, so that message_claimed finds them and not message_queue. There PostgreSQL would look at all that were
    sent since the oldest snapshot, such as that of a backup.
    """
    return db.any_of_query(f"SELECT {column} FROM outbox_message WHERE status = 'sending' AND owner = %s")


# Marks the due recipients of what was claimed, but none that the app gave if list or policy are others than they were for the
# message. If the worker dies before it looks at those again, nobody needs to fear that they got it. Its parameter is the claim's
# name, as that of RECIPIENTS.
CLAIM_RECIPIENTS = sql.statement(
    lambda db: (
        f"""
        UPDATE outbox_recipient SET status = 'sending' WHERE message_id {_of_claimed(db, "id")}
        AND status IN ('queued', 'deferred') AND due <= {db.now} AND NOT EXISTS (
            SELECT 1 FROM outbox_message mail JOIN organization_stage stage ON stage.id = mail.stage_id
            LEFT JOIN testlists_testlist list ON list.stage_id = mail.stage_id AND list.app_id = mail.app_id
            WHERE mail.id = outbox_recipient.message_id AND mail.route = 'recipients' AND (
                list.id IS NULL OR list.active OR list.active_version > mail.list_version
                OR stage.policy_version <> mail.policy_version
            )
        )
    """
    )
)


class MessageRecipient(NamedTuple):
    """A recipient of a claimed message. `due`: it is to get the message now."""

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
        f"SELECT message_id, status, status = 'sending' OR due <= {db.now}, id, address, name, tries, rule"
        f" FROM outbox_recipient WHERE message_id {_of_claimed(db, 'id')}"
    ),
)


class ClaimedList(NamedTuple):
    """The test list of an app whose messages are claimed."""

    app_id: int
    tag_subject: bool
    state: ListState


def _claimed_list(app_id: int, tag_subject: bool | int, *state: Any) -> ClaimedList:
    return ClaimedList(app_id, bool(tag_subject), list_state(*state))


# It takes the stage first.
LISTS = sql.query(
    _claimed_list,
    lambda db: (
        f"SELECT list.app_id, list.tag_subject, {list_columns(db)} FROM testlists_testlist list"
        f" WHERE list.stage_id = %s AND list.app_id {_of_claimed(db, 'app_id')}"
    ),
)


class StageNow(NamedTuple):
    """What is in force in a stage. One that was deleted has no settings, and captures everything.

    In a copy that nobody has answered about, no stage has settings. `paused`: the apps that a person paused, with 0 for the whole
    stage; None where nothing is paused.
    """

    now: datetime | str
    settings_version: int | None
    backoff_is_over: bool | int | None
    failing_since: datetime | str | None
    too_late_before: datetime | str | None
    paused: str | None
    policy: PolicyState


def _stage_now(now: Any, version: Any, is_over: Any, since: Any, late: Any, paused: Any, policy: Any, *others: Any) -> StageNow:
    state = policy_state(policy, *others) if policy else PolicyState(RecipientPolicy.NOBODY)
    return StageNow(now, version, is_over, since, late, paused, state)


# Its parameters: the stage, and the seal that the database must have. It is for one stage, since PostgreSQL would plan it again
# each time for a list of them.
STAGE_NOW = sql.query(
    _stage_now,
    lambda db: (
        f"""
        SELECT {db.now}, settings.version,
               queue.failures > 0 AND queue.retry_at <= {db.now} OR queue.deferring_since IS NOT NULL,
               CASE WHEN queue.failures > 0 THEN queue.since END, queue.too_late_before,
               (SELECT {db.string_agg}(CAST(COALESCE(app_id, 0) AS text), ' ') FROM outbox_pause pause
                WHERE pause.stage_id = stage.id),
               {policy_columns(db, "stage")}
        FROM (SELECT 1) AS one
        LEFT JOIN organization_stage stage ON stage.id = %s
        LEFT JOIN emailconfig_smtpsettings settings ON settings.stage_id = stage.id AND {IS_NO_COPY_SQL}
        LEFT JOIN outbox_stagequeue queue ON queue.stage_id = stage.id
    """
    ),
)


def _claim_again(db: sql.Dialect) -> str:
    lock = try_shared_lock_sql(db, "app_id", "stage_id")
    ours = f"id {db.any_of} AND owner = %s AND status = 'sending' AND lease_until > {db.now}"
    locked = f"SELECT id FROM outbox_message WHERE {ours} AND {lock} ORDER BY id{db.for_update()}"
    claimed = f"SET owner = %s, lease_until = {db.seconds_from_now} WHERE id {db.any_of_query(locked)}"
    return f"UPDATE outbox_message {claimed} RETURNING id"


# Claims those of some messages that a claim still has once more, under another name and with their lists' locks. Its
# parameters: the new name, the seconds of the lease, the messages, and the old name.
CLAIM_AGAIN = sql.query(int, _claim_again)
# Marks the recipients of what was claimed as waiting again, and then some as being sent to. The first takes the claim's name.
UNMARK_RECIPIENTS = sql.statement(
    lambda db: f"UPDATE outbox_recipient SET status = 'queued' WHERE status = 'sending' AND message_id {_of_claimed(db, 'id')}"
)
MARK_RECIPIENTS = sql.statement(lambda db: f"UPDATE outbox_recipient SET status = 'sending' WHERE id {db.any_of}")
CONTENT_PIECE = sql.query(bytes, "SELECT substr(data, %s, %s) FROM outbox_content WHERE message_id = %s")


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


# `sending → sent`, as one statement of PostgreSQL's, for messages that are sent to all their recipients. It returns those that
# were still under these leases. Its parameters: their numbers and the names of their claims, their attempts as JSON, and all
# their recipients.
RECORD_SENT = sql.query(
    HeldMessage,
    f"""
    WITH ours AS (
        SELECT mail.id, mail.owner
        FROM unnest(%s::bigint[], %s::varchar[]) AS given (id, owner) JOIN outbox_message mail USING (id, owner)
        WHERE mail.status = 'sending' AND mail.lease_until > {sql.POSTGRESQL.now} ORDER BY mail.id FOR UPDATE OF mail
    ), attempts AS (
        INSERT INTO outbox_attempt ({", ".join(_ATTEMPT_COLUMNS)}) SELECT {", ".join(_ATTEMPT_COLUMNS)}
        FROM json_populate_recordset(NULL::outbox_attempt, %s) AS attempt WHERE message_id IN (SELECT id FROM ours)
    ), recipients AS (
        UPDATE outbox_recipient SET status = 'sent', tries = tries + 1, last_reply = '', finished = {sql.POSTGRESQL.now}
        WHERE id = ANY(%s) AND message_id IN (SELECT id FROM ours)
    ), messages AS (
        UPDATE outbox_message SET status = 'sent', owner = '', lease_until = NULL WHERE id IN (SELECT id FROM ours)
    )
    SELECT id, owner FROM ours
    """,
)

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


def _first_due(db: sql.Dialect) -> str:
    """The first due message of each waiting status.

    Not EXISTS: without statistics PostgreSQL reads the whole queue for it. The order is for the plan: without it PostgreSQL takes
    the log's index if much was due when it last counted.
    """
    return ", ".join(
        f"(SELECT 1 FROM outbox_message WHERE stage_id = stage.id AND status = '{status.value}' AND due <= {db.now}"
        " ORDER BY due LIMIT 1)"
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
# One row for each that is due, up to a limit. The order is for the plan, as above.
DUE_OF_ONE_STATUS = sql.query(
    int, "SELECT 1 FROM outbox_message WHERE stage_id = %s AND status = %s AND due <= %s ORDER BY due LIMIT %s"
)

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
