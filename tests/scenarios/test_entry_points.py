"""The same awkward recipients through every entry point, while the test list is Active: nobody but the list gets anything."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from django.core.mail import EmailMessage, get_connection
from django.core.management import call_command
from django.test import Client

from delivery.worker import sweep
from organization.credentials import create_credential
from organization.models import App, Stage
from outbox.actions import resend, retry_now
from outbox.models import Message, Recipient, Status
from testlists.services import test_list_of as list_of
from tests.support.outbox import deliver, now_due, send, set_list, statuses
from tests.support.portal import OPERATOR, configure, running_gateway
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

LISTED = "ana@acme.example"
TO = ["karl..kunde@docomo.example", '"karl, kunde"@customer.example', "karl@[192.0.2.1]", "Karl@CUSTOMER.example"]
CC = ["karl.@my_host.example", "karl@xn--bcher-kva.example"]
BCC = ["karl@localhost", "kärl@bücher.example", "karl+tag@customer.example"]
AWKWARD = [*TO, *CC, *BCC]
STORED = {address.replace("xn--bcher-kva", "bücher").replace("CUSTOMER", "customer") for address in AWKWARD}


@dataclass
class World:
    """One app in one stage, whose test list isn't Active yet."""

    app: App
    stage: Stage
    server: SmtpServer
    administrator: Client

    def activate(self) -> None:
        set_list(self.app, self.stage, LISTED)

    def submit(self) -> Message:
        return send(self.app, self.stage, *AWKWARD, content=CONTENT)


CONTENT = f"From: crm@acme.example\r\nTo: {', '.join(TO)}\r\nCc: {', '.join(CC)}\r\nSubject: x\r\n\r\nHi\r\n".encode()


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with SmtpServer(pipelining=True) as running:
        yield running


@pytest.fixture
def world(crm: App, qa: Stage, server: SmtpServer, as_administrator: Client) -> World:
    configure(qa, server)
    return World(crm, qa, server, as_administrator)


@contextmanager
def refusing(server: SmtpServer, reply: str) -> Iterator[None]:
    """The server has this answer for every recipient meanwhile."""
    server.rcpt = lambda _: reply
    yield
    server.rcpt = lambda _: None


def by_gateway(world: World) -> None:
    world.activate()
    credential = create_credential(world.app, world.stage, OPERATOR)
    with running_gateway() as port, smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.login(credential.credential.username, credential.password)
        client.sendmail("crm@acme.example", AWKWARD, CONTENT, mail_options=["SMTPUTF8", "BODY=8BITMIME"])


def by_backend(world: World) -> None:
    world.activate()
    backend = get_connection("outbox.backend.EmailBackend", app="crm", stage="qa")
    EmailMessage("x", "Hi", "CRM <crm@acme.example>", TO, cc=CC, bcc=BCC, connection=backend).send()


def by_command(world: World) -> None:
    world.activate()
    call_command("send_email", "crm", "qa", "--subject", "x", "--to", *TO, "--cc", *CC, "--bcc", *BCC)


def by_send_test_mail(world: World) -> None:
    world.activate()
    for address in AWKWARD:
        data = {"app": world.app.pk, "address": f"Karl <{address}>", "complete": "on"}
        assert world.administrator.post("/management/configure/emails/qa/test-mail/", data).status_code == 302


def caught_by_admin(world: World) -> None:
    """Queued for the real recipients when Django admin saves the list as Active."""
    world.submit()
    test_list = list_of(world.app, world.stage)
    data = {"version": test_list.version, "active": "on", "people": LISTED}
    path = f"/admin/testlists/testlist/{test_list.pk}/change/"
    assert world.administrator.post(path, data).status_code == 302


def by_retry(world: World) -> None:
    """The server put the real recipients off; then the list became Active."""
    message = world.submit()
    with refusing(world.server, "451 4.2.0 later"):
        deliver()
    world.activate()
    retry_now(message, OPERATOR)


def by_resend(world: World) -> None:
    """The server refused the real recipients; then the list became Active."""
    message = world.submit()
    with refusing(world.server, "550 5.1.1 unknown"):
        deliver()
    world.activate()
    resend(message, OPERATOR)


def by_release(world: World) -> None:
    """Held because the Active list is empty, until a person is added."""
    world.activate()
    list_of(world.app, world.stage).addresses.all().delete()
    assert world.submit().status == Status.HELD
    world.activate()


def by_release_of_a_missing_list(world: World) -> None:
    """Held because the list is missing, until it is saved again."""
    list_of(world.app, world.stage).delete()
    assert world.submit().status == Status.HELD
    world.activate()


ENTRY_POINTS = [
    by_gateway,
    by_backend,
    by_command,
    by_send_test_mail,
    caught_by_admin,
    by_retry,
    by_resend,
    by_release,
    by_release_of_a_missing_list,
]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=lambda entry_point: entry_point.__name__)
def test_nobody_but_an_active_list_gets_anything_by_any_way(entry_point, world):
    entry_point(world)
    sweep()
    now_due()
    deliver()
    assert {address for message in Message.objects.all() for address in message.requested} == STORED
    assert world.server.arrived
    for arrived in world.server.arrived:
        assert arrived.recipients == [LISTED]
        assert arrived.sender.endswith("@acme.example")
        assert arrived.mail["To"] == LISTED
        assert arrived.mail["Cc"] is arrived.mail["Bcc"] is None
        header = arrived.content.partition(b"\r\n\r\n")[0]
        fields = re.findall(rb"^[!-~]+:.*(?:\r\n[ \t].*)*", header, re.MULTILINE)
        assert [field for field in fields if b"@" in field and b"karl" in field and not field.startswith(b"X-Original-")] == []


SMUGGLED = "eve@customer.example>\r\nDATA\r\nhello\r\n.\r\nMAIL FROM:<eve@customer.example"


@pytest.mark.parametrize("pipelining", [False, True])
def test_what_isnt_an_address_in_the_database_never_reaches_the_wire(pipelining, crm, qa):
    """A recipient, a person on the list and a sender, each changed behind the portal's back."""
    with SmtpServer(pipelining=pipelining) as server:
        configure(qa, server)
        message, lone, listed = send(crm, qa, "bad@x.example", "good@x.example"), send(crm, qa, "bad@x.example"), send(crm, qa)
        Recipient.objects.filter(address="bad@x.example").update(address=SMUGGLED)
        Message.objects.filter(pk=listed.pk).update(envelope_sender=SMUGGLED)
        deliver()
        set_list(crm, qa, LISTED, "ben@acme.example")
        entry = list_of(crm, qa).addresses.get(email=LISTED)
        entry.email = SMUGGLED
        entry.save()
        test_mail = send(crm, qa)
        deliver()
    assert statuses(message) == {SMUGGLED: "failed", "good@x.example": "sent"}
    assert (statuses(lone), statuses(listed)) == ({SMUGGLED: "failed"}, {"customer@example.com": "sent"})
    assert statuses(test_mail) == {SMUGGLED: "failed", "ben@acme.example": "sent"}
    assert [arrived.recipients for arrived in server.arrived] == [
        ["good@x.example"],
        ["customer@example.com"],
        ["ben@acme.example"],
    ]
    assert [arrived.sender for arrived in server.arrived] == [
        "crm@acme.example",
        "no-reply@acme.example",
        "no-reply@acme.example",
    ]
    assert not any(re.search(rb"^(DATA|MAIL|hello)", arrived.content, re.MULTILINE) for arrived in server.arrived)


def test_the_test_mail_form_asks_about_a_domain_without_a_dot(as_administrator: Client, crm: App, qa: Stage):
    configure(qa)
    page, data = "/management/configure/emails/qa/test-mail/", {"app": crm.pk, "address": "Root <root@localhost>"}
    asked = as_administrator.post(page, data)
    assert "It has no dot: root@localhost" in asked.content.decode()
    assert not Message.objects.exists()
    assert as_administrator.post(page, {**data, "complete": "on"}).status_code == 302
    assert Message.objects.get().requested == ["root@localhost"]
