"""What the outbox asks again and again is found by index, however many messages there are."""

from __future__ import annotations

from outbox import statements
from tests.support.plans import plan


def test_held_test_mail_is_found_without_the_other_messages(db: None) -> None:
    """Every worker asks every ten seconds. A stage may hold thousands of messages that wait for a person."""
    assert "message_held" in plan(statements.HELD_TEST_MAIL.statement)
