"""What a worker's turn asks is found by index, however many messages there are."""

from __future__ import annotations

import pytest
from django.utils import timezone

from common import sql
from delivery import statements
from tests.support.plans import plan

IDS = [1, 2]
NOW = timezone.now()


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (statements.due_messages(2).statement, [1, 1]),
        (statements.RECIPIENTS.statement, [NOW, IDS]),
        (statements.UNDER_LEASE.statement, [IDS]),
        (statements.RENEW_LEASES, [NOW, IDS]),
        (statements.CLAIM.first, [IDS]),
        (statements.CLAIM.second, ["worker-1", NOW, IDS]),
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
