"""What a worker's turn asks is found by index, however many messages there are."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.utils import timezone

from common import sql
from delivery import statements
from organization.installation.seal import current_seal
from organization.models import App, Stage
from outbox.models import Message, Status
from tests.support.outbox import bare_message
from tests.support.plans import plan
from tests.support.portal import configure

IDS = [1, 2]
NOW = timezone.now()
OF_CLAIMED = [
    (statements.CLAIM_RECIPIENTS, ["claim-1"]),
    (statements.RECIPIENTS.statement, ["claim-1"]),
    (statements.LISTS.statement, [1, "claim-1"]),
    (statements.UNMARK_RECIPIENTS, ["claim-1"]),
]


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (statements.claim_messages(2).statement, ["claim-1", 60.0, 1, 1, 2, 1, 1, "a seal"]),
        *OF_CLAIMED,
        (statements.CLAIM_AGAIN.statement, ["claim-2", 60.0, IDS, "claim-1"]),
        (statements.MARK_RECIPIENTS, [IDS]),
        (statements.UNDER_LEASE.statement, [IDS]),
        (statements.RENEW_LEASES, [NOW, IDS]),
        (statements.MESSAGES_SENT.first, [NOW, IDS]),
        (statements.MESSAGES_SENT.second, [IDS]),
        (statements.STAGES_WITH_DUE_MESSAGES.statement, ["a seal"]),
        (statements.DUE_OF_ONE_STATUS.statement, [1, "queued", NOW, 10]),
        (statements.CONTENT_PIECE.statement, [1, 10, 1]),
    ],
)
def test_no_statement_of_a_turn_reads_a_whole_table_of_messages(
    db: None, statement: sql.Statement, parameters: list[object]
) -> None:
    way = plan(statement, *parameters)
    assert "SCAN outbox_" not in way
    assert "Seq Scan on outbox_" not in way
    assert "outbox_" in way or "mail" in way


@pytest.mark.parametrize(("statement", "parameters"), OF_CLAIMED)
def test_what_was_claimed_is_found_by_the_name_of_its_claim(db: None, statement: sql.Statement, parameters: list[object]) -> None:
    """The queue's index has all that was sent since the oldest snapshot, which a backup may keep for hours."""
    way = plan(statement, *parameters)
    assert "message_claimed" in way
    assert "message_queue" not in way


@pytest.mark.requires_postgresql
def test_a_claim_reads_no_more_than_it_takes_when_a_burst_follows_quiet_days(crm: App, qa: Stage) -> None:
    """PostgreSQL plans by what it counted before. A plan that sorts all due messages would cost every claim of the burst."""
    settings = configure(qa)
    App.objects.bulk_create(App(key=f"app-{number}", name=f"App {number}") for number in range(200))
    Message.objects.bulk_create(Message(**bare_message(crm, qa), status=Status.SENT) for _ in range(2000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE outbox_message, organization_app, organization_stage")
        Message.objects.bulk_create(Message(**bare_message(crm, qa), status=Status.QUEUED) for _ in range(300))
        claim = statements.claim_messages(2).statement.text
        parameters = ["claim-1", 60.0, qa.pk, qa.pk, 2, qa.pk, settings.version, current_seal()]
        cursor.execute(f"EXPLAIN ANALYZE {claim}", parameters)
        way = "\n".join(str(row) for row in cursor.fetchall())
    read = re.findall(r"outbox_message.*actual time=\S+ rows=(\d+)", way)
    assert max(map(int, read)) == 2, way


@pytest.mark.requires_postgresql
def test_looking_for_due_mail_reads_the_queue_although_most_mail_was_due_when_it_was_counted(crm: App, qa: Stage) -> None:
    """PostgreSQL took the log's index then, and walked through everything that was sent meanwhile."""
    Message.objects.bulk_create(Message(**bare_message(crm, qa), status=Status.QUEUED) for _ in range(2000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE outbox_message")
    for way in (
        plan(statements.STAGES_WITH_DUE_MESSAGES.statement, "a seal"),
        plan(statements.DUE_OF_ONE_STATUS.statement, qa.pk, "queued", NOW, 10),
    ):
        assert "message_queue" in way
        assert "message_log" not in way
