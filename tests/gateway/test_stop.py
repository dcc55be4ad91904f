"""A gateway that is told to stop: emails that it is taking get their answer, all other clients hear that they may come back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from django.db import connection, transaction

import gateway.server
from organization.credentials import NewCredential, create_credential
from outbox.models import Message
from tests.support.gateway_client import Client, gateway_thread
from tests.support.portal import OPERATOR, eventually, mail, running
from tests.support.smtp_server import listening, reserved_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


@contextmanager
def no_inserts() -> Iterator[None]:
    """Inserting an email waits until the block ends."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("LOCK TABLE outbox_message IN SHARE MODE")
        yield


def inserts_waiting() -> int:
    """PostgreSQL tells; on SQLite who writes waits unseen."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outbox_message'::regclass")
        return cursor.fetchone()[0]


def sending(port: int, credential: NewCredential, stack: ExitStack) -> Client:
    """A client whose content the gateway expects."""
    client = stack.enter_context(Client(port))
    client.sign_in(credential)
    client.begin_mail()
    return client


def test_what_is_being_stored_is_answered_and_nothing_else_is_stored(credential):
    with ExitStack() as stack:
        port = stack.enter_context(reserved_port())
        gateway = stack.enter_context(running("smtp_gateway", "--port", str(port)))
        eventually(lambda: listening(port))
        idle, addressing = stack.enter_context(Client(port)), stack.enter_context(Client(port))
        addressing.sign_in(credential)
        addressing.say("MAIL FROM:<crm@acme.example>")
        clients = [sending(port, credential, stack) for _ in range(20)]
        slow = sending(port, credential, stack)
        with no_inserts():
            for client in clients:
                client.socket.sendall(mail() + b".\r\n")
            gateway.send_signal(signal.SIGTERM)
            goodbye = "421 4.3.2 The gateway is stopping; try again later"
            assert [idle.hear(), addressing.hear()] == [goodbye, goodbye]
            assert not listening(port)
            slow.socket.sendall(mail() + b".\r\n")
        answers = [client.hear() for client in (*clients, slow)]
        assert [client.hear() for client in (*clients, slow)] == [goodbye] * 21
        assert gateway.wait(60) == 0
    assert [answer[:3] for answer in answers] == ["250"] * 21
    assert sorted(int(answer.split()[5]) for answer in answers) == sorted(Message.objects.values_list("pk", flat=True))


@pytest.mark.requires_postgresql  # what waits for SQLite's lock ends with the process
def test_what_cannot_be_stored_in_time_is_refused_and_not_stored_later(credential, monkeypatch):
    """Its app heard nothing else, and sends it once more to the next gateway."""
    monkeypatch.setattr(gateway.server, "STOP_SECONDS", 0.5)
    with ExitStack() as stack, no_inserts():
        with gateway_thread() as port:
            clients = [sending(port, credential, stack) for _ in range(3)]
            clients[0].socket.sendall(mail() + b".\r\n")
            eventually(inserts_waiting)
            for client in clients[1:]:
                client.socket.sendall(mail() + b".\r\n")
        answers = [client.hear()[:3] for client in clients]
    assert set(answers) <= {"421", "451"}
    eventually(lambda: not inserts_waiting())
    assert not Message.objects.exists()
