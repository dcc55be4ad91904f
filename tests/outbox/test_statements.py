"""What the outbox asks again and again is found by index, however many messages there are."""

from __future__ import annotations

import pytest

from outbox import statements
from tests.support.plans import plan


def test_held_test_mail_is_found_without_the_other_messages(db: None) -> None:
    """Every worker asks every ten seconds. A stage may hold thousands of messages that wait for a person."""
    assert "message_held" in plan(statements.HELD_TEST_MAIL.statement)


@pytest.mark.parametrize("count", [statements.held_by_app, statements.backlog_by_app])
def test_the_first_held_messages_are_read_in_the_order_of_the_queue(db: None, count) -> None:
    """A stage may hold thousands. Home counts up to 1,000 of each, and must not read and sort the others."""
    found = plan(count(1_001).statement, [1, 2], ["held"])
    assert "message_queue" in found and "message_held" not in found
