"""Messages that one commit stores together, and what becomes of them when the database cannot."""

from __future__ import annotations

import asyncio
import queue
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from common import sql
from gateway.batching import BYTES_PER_COMMIT, MESSAGES_PER_COMMIT, PendingMessage, ReceivedMessage, next_group, store
from organization.credentials import NewCredential, create_credential
from organization.models import App, Credential
from outbox.models import Message
from outbox.submission import Envelope
from outbox.values import AcceptedMessage
from tests.support.portal import OPERATOR, mail

pytestmark = pytest.mark.django_db(transaction=True)


def waiting(*sizes: int) -> queue.SimpleQueue[PendingMessage | None]:
    loop = asyncio.new_event_loop()
    messages: queue.SimpleQueue[PendingMessage | None] = queue.SimpleQueue()
    for size in sizes:
        messages.put(
            PendingMessage(
                ReceivedMessage(Credential(), Envelope("", ["a@example.com"]), bytes(size)), loop.create_future(), loop
            )
        )
    loop.close()
    return messages


def test_a_group_of_one_commit_is_bounded_in_number_and_bytes():
    many = waiting(*[1] * (MESSAGES_PER_COMMIT + 1))
    assert [len(next_group(many)), len(next_group(many))] == [MESSAGES_PER_COMMIT, 1]
    half = BYTES_PER_COMMIT // 2
    large = waiting(half, half, half, BYTES_PER_COMMIT, 1)
    assert [len(next_group(large)) for _ in range(3)] == [2, 2, 1]


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


@pytest.mark.requires_sqlite  # PostgreSQL's disk is not ours to fill
def test_a_full_disk_is_said_and_nothing_accepted(credential, crm, qa, monkeypatch):
    with connection.cursor() as cursor:
        (pages,) = cursor.execute("PRAGMA page_count").fetchone()
        (unused,) = cursor.execute("PRAGMA freelist_count").fetchone()
    body = "x" * 4096 * (unused + 20)
    handed = ReceivedMessage(credential.credential, Envelope("crm@acme.example", ["a@example.com"]), mail(body=body))
    options = connection.settings_dict["OPTIONS"]
    with monkeypatch.context() as full:
        full.setitem(options, "init_command", f"{options['init_command']}; PRAGMA max_page_count = {pages}")
        connection.close()
        (answer,) = store([handed])
    connection.close()
    assert sql.is_out_of_space(answer)
    assert not Message.objects.exists()
    (answer,) = store([handed])
    assert isinstance(answer, AcceptedMessage)


@pytest.mark.requires_postgresql
def test_a_column_that_changes_its_type_under_a_running_gateway_refuses_no_mail(credential):
    """PostgreSQL refuses a statement that was prepared for another type, over that connection for ever."""

    def alter(to: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE organization_app ALTER name TYPE {to}")
        connection.close()

    handed = ReceivedMessage(credential.credential, Envelope("crm@acme.example", ["a@example.com"]), mail())
    for _ in range(10):  # from the fifth time on they are prepared
        store([handed])
    with ThreadPoolExecutor(max_workers=1) as elsewhere:
        elsewhere.submit(alter, "text").result()
        try:
            answers = store([handed, handed])
        finally:
            connection.close()
            elsewhere.submit(alter, f"varchar({App._meta.get_field('name').max_length})").result()
    assert [type(answer) for answer in answers] == [AcceptedMessage, AcceptedMessage]


def test_a_database_that_can_only_be_read_takes_no_mail_and_says_so(credential, crm, qa, monkeypatch):
    handed = ReceivedMessage(credential.credential, Envelope("crm@acme.example", ["a@example.com"]), mail())
    options = connection.settings_dict["OPTIONS"]
    with monkeypatch.context() as read_only:
        if connection.vendor == "sqlite":
            read_only.setitem(options, "init_command", f"{options['init_command']}; PRAGMA query_only = 1")
        else:
            read_only.setitem(options, "options", "-c default_transaction_read_only=on")
        connection.close()
        (answer,) = store([handed])
    connection.close()
    assert sql.is_out_of_space(answer)
    assert not Message.objects.exists()
