"""Postfix behind us."""

from __future__ import annotations

from email import message_from_bytes

import pytest

from outbox.models import Message, Status
from tests.support.outbox import deliver, send, statuses
from tests.support.portal import configure, eventually

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]


def test_postfix_takes_our_mail_pipelined_many_over_each_connection(crm, qa, postfix):
    configure(qa, port=postfix.port, from_domains="*", connections=2)
    body = ".\r\n..\r\n.leading dot\r\nGrüße\r\n"
    sent = [
        send(crm, qa, "customer@example.com", content=f"From: crm@acme.example\r\nSubject: {n}\r\n\r\n{body}".encode())
        for n in range(100)
    ]
    send(crm, qa, content=b"From: crm@acme.example\r\nSubject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 40_000)
    deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    eventually(lambda: len(postfix.inbox) == 101, 30)
    received = {message_from_bytes(content)["Message-ID"]: content for content in postfix.inbox}
    for message in sent:
        assert received[message.message_id].partition(b"\n\n")[2] == body.replace("\r\n", "\n").encode()
    assert "queued as" in sent[0].attempts.get().reply
    log = postfix.log.read_text()
    assert log.count(": connect from") <= 3
    assert "improper command pipelining" not in log


def test_postfix_refuses_one_recipient_and_the_others_get_the_mail(crm, qa, postfix):
    configure(qa, port=postfix.port, from_domains="*")
    message = send(crm, qa, "good@example.com", "stranger@elsewhere.example", "also@acme.example")
    deliver()
    assert statuses(message) == {"good@example.com": "sent", "stranger@elsewhere.example": "failed", "also@acme.example": "sent"}
    assert "Relay access denied" in message.recipients.get(status=Status.FAILED).last_reply
    eventually(lambda: len(postfix.inbox) == 2)
