"""What is written about a try."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from delivery.outcomes import record
from delivery.values import MessageResult, Outcome
from outbox.models import Attempt, Message, Status
from tests.support.outbox import send, take
from tests.support.portal import configure

pytestmark = pytest.mark.django_db(transaction=True)


def test_notes_on_many_emails_cost_no_more_statements_than_on_one(crm, qa):
    configure(qa)
    note = "The app gave no From, so the email left as no-reply@acme.example."

    def statements(count: int) -> int:
        messages = [send(crm, qa).pk for _ in range(count)]
        finished = [
            MessageResult(mail, [Outcome(mail.recipients[0], Attempt.Outcome.SENT, "content", 250, "250 Ok")], notes=[note])
            for mail in take(qa, count)
        ]
        Message.objects.update(notes=["Said before.", note])
        with transaction.atomic(), CaptureQueriesContext(connection) as captured:
            record(finished)
        stored = Message.objects.filter(pk__in=messages).values_list("status", "notes")
        assert list(stored) == [(Status.SENT, ["Said before.", note])] * count
        return len(captured)

    assert statements(1) == statements(20) < 10
