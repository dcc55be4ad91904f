"""Mail that comes back: a loop ends, and what lists and ticket systems pass on arrives."""

from __future__ import annotations

import re
import smtplib

import pytest

from delivery.models import StageQueue
from emailconfig.doctor.examination import examine
from organization.credentials import create_credential
from organization.installation import installation_id
from outbox.exceptions import SubmissionRefused
from outbox.models import Message, Status
from tests.support.outbox import deliver, send, set_list
from tests.support.portal import OPERATOR, configure, running_gateway
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def smtp_server():
    with SmtpServer(pipelining=True) as server:
        yield server


def passed_on(content: bytes, *, message_id: str = "") -> bytes:
    """As a mailing list or a ticket system does it: with a line of its own in front, and perhaps a new Message-ID."""
    line = b"Received: from relay.test by lists.test (Postfix)\r\n\tfor <all@lists.test>; Thu, 26 Nov 2026 20:00:00 +0000\r\n"
    if message_id:
        content = re.sub(rb"(?mi)^Message-ID:.*\r\n", f"Message-ID: {message_id}\r\n".encode(), content)
    return line + b"List-Id: <all.lists.test>\r\n" + content


@pytest.mark.parametrize("test_list", [(), ("ana@acme.example",)])
def test_a_message_that_comes_back_to_its_app_and_stage_is_refused(crm, qa, smtp_server, test_list):
    configure(qa, smtp_server, from_domains="*")
    set_list(crm, qa, *test_list, active=bool(test_list))
    send(crm, qa)
    deliver()
    (arrived,) = smtp_server.arrived
    with pytest.raises(SubmissionRefused, match="came back") as refused:
        send(crm, qa, content=passed_on(arrived.content))
    assert refused.value.reply.startswith("554 5.4.6 Mail loop: crm sent this message in qa before")
    assert Message.objects.count() == 1


@pytest.mark.parametrize("message_id", ["", "<new@lists.test>"])
@pytest.mark.parametrize("test_list", [(), ("ana@acme.example",)])
def test_what_a_mailing_list_or_ticket_system_passes_on_arrives(crm, shop, qa, smtp_server, message_id, test_list):
    configure(qa, smtp_server, from_domains="*")
    for app in (crm, shop):
        set_list(app, qa, *test_list, active=bool(test_list))
    send(crm, qa)
    deliver()
    send(shop, qa, "all@lists.test", content=passed_on(smtp_server.arrived[0].content, message_id=message_id))
    deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert smtp_server.arrived[1].content.count(f" id {installation_id()}.".encode()) == 2
    with pytest.raises(SubmissionRefused, match="came back"):  # and there it ends
        send(crm, qa, content=passed_on(smtp_server.arrived[1].content))


def test_a_loop_over_many_apps_ends_too(crm, shop, qa, production, smtp_server):
    for stage in (qa, production):
        configure(stage, smtp_server, from_domains="*")
    for number, (app, stage) in enumerate([(crm, qa), (shop, qa), (crm, production)]):
        send(app, stage, content=smtp_server.arrived[-1].content if number else None)
        deliver()
    assert len(smtp_server.arrived) == 3
    with pytest.raises(SubmissionRefused, match="3 times"):
        send(shop, production, content=smtp_server.arrived[-1].content)


def test_no_stage_sends_through_the_gateway_of_its_own_portal(crm, shop, qa, production, smtp_server, monkeypatch):
    """Another portal's gateway is a server like any other."""
    new = create_credential(crm, production, OPERATOR)
    with running_gateway() as port:
        signs_in = {"authentication": "basic", "username": new.credential.username, "new_secret": new.password}
        settings = configure(qa, port=port, **signs_in)
        *_, last = examine(settings)
        assert (last.step, last.code, last.ok) == ("EHLO", "own_gateway", False)
        message = send(shop, qa)
        deliver()
        message.refresh_from_db()
        assert message.status == Status.QUEUED
        assert StageQueue.objects.get(stage=qa).code == "own_gateway"
        configure(production, smtp_server, from_domains="*")
        send(crm, production)
        deliver()
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
            smtp.login(new.credential.username, new.password)
            with pytest.raises(smtplib.SMTPDataError, match=r"5\.4\.6 Mail loop"):
                smtp.sendmail("crm@acme.example", ["customer@example.com"], smtp_server.arrived[0].content)
        monkeypatch.setattr("django.conf.settings.INSTALLATION_ID", "another")
        assert examine(settings)[-1].code != "own_gateway"
