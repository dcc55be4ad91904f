"""Test mail as the stage's server gets it, end to end: what was meant for real people reaches nobody by its header."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from organization.kept_headers.changes import keep_header, stop_keeping_header
from outbox.models import Message, Status
from tests.support.emaillog import url
from tests.support.header_judge import strays
from tests.support.outbox import deliver, send, set_list, take
from tests.support.portal import OPERATOR, configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = (
    b"From: crm@acme.example\r\nTo: karl.kunde@customer.example\r\nSubject: offer\r\nMessage-ID: <1@acme.example>\r\n"
    b"Date: Wed, 25 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
)
MARKETING = HEADER + (
    b'X-SMTPAPI: {"to": ["karl.kunde@customer.example"]}\r\nX-MC-BccAddress: archive@customer.example\r\n'
    b"Sender: Carla Agent <carla.agent@acme.example>\r\nMail-Followup-To: karl.kunde@customer.example\r\n"
    b"List-Unsubscribe: <mailto:unsubscribe+karl.kunde=customer.example@acme.example>\r\n\r\nHi\r\n"
)
CONTACT_FORM = HEADER.replace(b"crm@acme.example\r\n", b'"Karl Kunde" <karl.kunde@customer.example>\r\n', 1) + b"\r\nHi\r\n"
INVITATION = HEADER + (
    b"Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n"
    b"ATTENDEE;RSVP=TRUE:mailto:karl.kunde@customer.example\r\nEND:VCALENDAR\r\n"
)


@pytest.fixture
def smtp_server():
    with SmtpServer(pipelining=True) as server:
        yield server


@pytest.mark.parametrize(
    ("content", "sender"),
    [
        (MARKETING, "bounce+karl.kunde=customer.example@acme.example"),
        (CONTACT_FORM, "karl.kunde@customer.example"),
        (INVITATION, ""),
    ],
)
def test_a_server_and_its_readers_find_the_list_and_the_stages_sender_alone(crm, qa, smtp_server, content, sender):
    configure(qa, smtp_server, from_domains="*")
    set_list(crm, qa, "tess@acme.example", "ben@acme.example")
    message = send(crm, qa, "karl.kunde@customer.example", content=content, sender=sender)
    deliver()
    (arrived,) = smtp_server.arrived
    people = ["tess@acme.example", "ben@acme.example", "crm@acme.example"]
    assert strays(arrived.mail, people, "no-reply@acme.example") == []
    assert arrived.sender == ("no-reply@acme.example" if sender else "")
    assert arrived.mail["X-Original-To"] == "karl.kunde@customer.example"
    assert arrived.mail["X-Email-Log"].endswith(url(message))
    assert arrived.content.partition(b"\r\n\r\n")[2] == content.partition(b"\r\n\r\n")[2]


def test_a_list_that_catches_waiting_mail_gives_it_the_header_of_test_mail(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    send(crm, qa, "karl.kunde@customer.example", content=MARKETING)
    set_list(crm, qa, "tess@acme.example")
    deliver()
    (arrived,) = smtp_server.arrived
    assert strays(arrived.mail, ["tess@acme.example", "crm@acme.example"], "no-reply@acme.example") == []


def test_a_stage_keeps_a_field_in_what_is_accepted_from_then_on(crm, qa, production, smtp_server):
    configure(qa, smtp_server)
    set_list(crm, qa, "tess@acme.example")
    content = HEADER + b"X-Acme-Order: 4711\r\nX-Acme-Buyer: karl.kunde@customer.example\r\nX-Acme-Trace: 1\r\n\r\nHi\r\n"
    send(crm, qa, content=content)
    kept = [keep_header(qa, name, OPERATOR, typed_stage_name="QA") for name in ("X-Acme-Order", "x-acme-buyer")]
    keep_header(production, "X-Acme-Trace", OPERATOR, typed_stage_name="Production")
    send(crm, qa, content=content)
    deliver()
    before, after = (arrived.mail for arrived in smtp_server.arrived)
    assert (before["X-Acme-Order"], before["X-Original-X-Acme-Order"]) == (None, "4711")
    assert (after["X-Acme-Order"], after["X-Original-X-Acme-Order"]) == ("4711", None)
    assert after["X-Original-X-Acme-Buyer"] == "karl.kunde@customer.example"
    assert after["X-Original-X-Acme-Trace"] == "1"
    send(crm, qa, content=content)
    stop_keeping_header(kept[0], OPERATOR)
    deliver()
    assert smtp_server.arrived[-1].mail["X-Original-X-Acme-Order"] == "4711"


def test_kept_fields_cost_hand_over_no_query(crm, qa, smtp_server):
    configure(qa, smtp_server)
    set_list(crm, qa, "tess@acme.example")

    def queries() -> int:
        for _ in range(3):
            send(crm, qa)
        with CaptureQueriesContext(connection) as captured:
            assert len(take(qa, 3)) == 3
        return len(captured)

    queries()
    without = queries()
    for number in range(20):
        keep_header(qa, f"X-Acme-{number}", OPERATOR, typed_stage_name="QA")
    assert queries() == without


def test_text_without_an_empty_line_before_it_arrives_as_the_body(crm, qa, smtp_server):
    configure(qa, smtp_server)
    send(crm, qa, content=b"From: crm@acme.example\r\nSubject: alert\r\nDisk full.\r\nTo: nobody in particular\r\n")
    deliver()
    (arrived,) = smtp_server.arrived
    assert arrived.mail.get_payload() == "Disk full.\r\nTo: nobody in particular\r\n"
    assert arrived.mail["To"] is None


def test_an_invitation_is_warned_about_where_it_is_test_mail(as_administrator, crm, qa, smtp_server):
    configure(qa, smtp_server)
    warning = "may write to real people"
    list_page, simulator = (
        "/apps/crm/configuration/emails/qa/",
        "/apps/crm/configuration/emails/qa/route/?to=karl@customer.example",
    )
    real = send(crm, qa, content=INVITATION)
    assert warning not in as_administrator.get(url(real)).content.decode()
    assert warning not in as_administrator.get(simulator).content.decode()
    set_list(crm, qa, "tess@acme.example")
    send(crm, qa)
    assert "invitation" not in as_administrator.get(list_page).content.decode()
    test = send(crm, qa, content=INVITATION)
    assert warning in as_administrator.get(url(test)).content.decode()
    assert warning in as_administrator.get(simulator).content.decode()
    assert "One is an invitation" in as_administrator.get(list_page).content.decode()
    deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
