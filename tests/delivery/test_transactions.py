"""One email in several SMTP transactions: too many recipients, and addresses that need SMTPUTF8. And the greeting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from django.core.management import call_command

from delivery.models import StageBackoff
from outbox.models import Attempt, Message, Status
from tests.support.outbox import deliver, now_due, outcomes, send, statuses
from tests.support.portal import configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """One with PIPELINING; how it is without is for the tests of delivery to see."""
    with SmtpServer(pipelining=True) as server:
        yield server


SIXTY = [f"u{number}@customer.example" for number in range(60)]


def at_most(server: SmtpServer, number: int, reply: str) -> None:
    """The server refuses each recipient of a transaction beyond this number."""
    counted = Counter[str]()

    def mail(_: str) -> None:
        counted.clear()

    def rcpt(_: str) -> str | None:
        counted["rcpt"] += 1
        return reply if counted["rcpt"] > number else None

    server.mail, server.rcpt = mail, rcpt


def copies(server: SmtpServer) -> Counter[str]:
    return Counter(address for arrival in server.arrived for address in arrival.recipients)


def test_an_email_to_more_recipients_than_the_stage_allows_goes_in_several_transactions(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", recipients_per_transaction=25)
    message, other = send(crm, qa, *SIXTY), send(crm, qa)
    deliver()
    assert [len(arrival.recipients) for arrival in smtp_server.arrived if "customer@example.com" not in arrival.recipients] == [
        25,
        25,
        10,
    ]
    assert copies(smtp_server) == Counter([*SIXTY, "customer@example.com"])
    assert {arrival.mail["Message-ID"] for arrival in smtp_server.arrived} == {message.message_id, other.message_id}
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert Counter(outcomes(message)) == Counter((address, "sent") for address in SIXTY)
    assert smtp_server.connections == 1


@pytest.mark.parametrize(
    "limit",
    [
        lambda server: at_most(server, 50, "452 4.5.3 too many recipients"),
        lambda server: at_most(server, 50, "550 5.5.3 Too many recipients"),
        lambda server: setattr(
            server,
            "data",
            lambda received: "554 Transaction failed: Recipient count exceeds 50." if len(received.recipients) > 50 else None,
        ),
    ],
    ids=["452 at RCPT", "550 at RCPT", "554 after the content"],
)
@pytest.mark.parametrize("pipelining", [True, False])
def test_sixty_recipients_behind_a_server_that_takes_fifty_all_arrive(crm, qa, configured, smtp_server, limit, pipelining):
    smtp_server.pipelining = pipelining
    limit(smtp_server)
    message = send(crm, qa, *SIXTY)
    deliver()
    assert copies(smtp_server) == Counter(SIXTY)
    assert set(statuses(message).values()) == {"sent"}
    assert set(message.recipients.values_list("tries", flat=True)) == {1}
    assert not StageBackoff.objects.filter(failures__gt=0).exists()
    before = Attempt.objects.exclude(outcome="sent").count()
    again = send(crm, qa, *SIXTY)
    deliver()  # another worker, which has to learn it for itself
    assert set(statuses(again).values()) == {"sent"}
    assert Attempt.objects.exclude(outcome="sent").count() <= 2 * before


def test_recipients_of_one_email_end_each_by_their_own_answer_in_whatever_transaction(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", recipients_per_transaction=2)
    replies = {"u1@customer.example": "550 5.1.1 no such user", "u4@customer.example": "450 4.2.1 mailbox busy"}
    smtp_server.rcpt = replies.get
    message = send(crm, qa, *SIXTY[:6])
    deliver()
    ends = Counter(statuses(message).values())
    assert (ends, message.recipients.get(status="failed").address) == (
        Counter(sent=4, failed=1, deferred=1),
        "u1@customer.example",
    )
    replies.clear()
    now_due()
    deliver()
    assert statuses(message)["u4@customer.example"] == "sent"
    assert set(copies(smtp_server).values()) == {1}


def test_an_address_that_needs_smtputf8_does_not_take_the_others_with_it(crm, qa):
    with SmtpServer(smtputf8=False) as server:
        configure(qa, server, from_domains="*")
        message = send(crm, qa, "ok1@customer.example", "kündé@customer.example", "ok2@bücher.example")
        deliver()
        assert copies(server) == Counter(["ok1@customer.example", "ok2@xn--bcher-kva.example"])
        assert Counter(statuses(message).values()) == Counter(sent=2, failed=1)
        assert message.recipients.get(status="failed").last_reply.startswith("5.6.7")


def test_smtputf8_is_asked_for_only_when_an_address_needs_it(crm, qa, configured, smtp_server):
    said: list[str] = []
    smtp_server.options = lambda address, options: said.append(f"{address} {' '.join(options)}")
    content = "From: crm@acme.example\r\nSubject: Grüße\r\n\r\nHi\r\n".encode()
    send(crm, qa, "ok1@customer.example", "kündé@customer.example", content=content)
    deliver()
    assert [arrival.recipients for arrival in smtp_server.arrived] == [["ok1@customer.example"], ["kündé@customer.example"]]
    assert ["SMTPUTF8" in command for command in said] == [False, True]


@pytest.mark.parametrize("offered", [True, False])
def test_a_header_that_names_such_an_address_asks_for_smtputf8_where_it_is_offered_and_leaves_anyway(crm, qa, offered):
    content = "From: crm@acme.example\r\nCc: Jörg <jörg@customer.example>\r\nSubject: x\r\n\r\nHi\r\n".encode()
    said: list[str] = []
    with SmtpServer(smtputf8=offered, options=lambda _, options: said.extend(options)) as server:
        configure(qa, server, from_domains="*")
        message = send(crm, qa, "ok@customer.example", content=content)
        deliver()
        assert statuses(message) == {"ok@customer.example": "sent"}
        assert "<jörg@customer.example>".encode() in server.arrived[0].content
    assert ("SMTPUTF8" in said, "BODY=8BITMIME" in said) == (offered, True)


def test_an_address_with_a_line_break_never_reaches_the_server(crm, qa, configured, smtp_server):
    message = send(crm, qa, "ok@customer.example", "bad@customer.example")
    message.recipients.filter(address="bad@customer.example").update(address="bad@customer.example>\r\nRCPT TO:<eve@evil.example")
    deliver()
    assert copies(smtp_server) == Counter(["ok@customer.example"])
    assert message.recipients.get(status="failed").last_reply.startswith("5.1.3")


# The greeting


def test_a_complaint_about_our_greeting_is_the_stages_trouble_and_fails_no_email(crm, qa, configured, smtp_server):
    complaint = "504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname"
    smtp_server.rcpt = lambda _: complaint
    messages = [send(crm, qa) for _ in range(5)]
    deliver()
    queue = StageBackoff.objects.get(stage=qa)
    assert (queue.failures, queue.code, queue.step, queue.evidence) == (1, "hello_refused", "RCPT TO", complaint)
    assert not Attempt.objects.exists()
    smtp_server.rcpt = lambda _: None
    now_due()
    deliver()
    assert {status for message in messages for status in statuses(message).values()} == {"sent"}


def test_an_address_that_sounds_like_a_greeting_is_no_complaint_about_ours(crm, qa, configured, smtp_server):
    smtp_server.rcpt = lambda address: f"550 5.1.1 <{address}>: no such user"
    message = send(crm, qa, "helo@customer.example", "a@ehlo.example")
    deliver()
    assert set(statuses(message).values()) == {"failed"}


@pytest.mark.parametrize(("chosen", "said"), [("portal.acme.example", "portal.acme.example"), ("", "acme.example")])
def test_the_stages_ehlo_name_is_said_and_else_the_senders_domain(crm, qa, smtp_server, monkeypatch, chosen, said):
    monkeypatch.setattr("emailconfig.models.DNS_NAME", "3f2a9b1c0d4e")  # a container's
    configure(qa, smtp_server, ehlo_name=chosen)
    message = send(crm, qa)
    deliver()
    assert smtp_server.names == {said}
    assert message.message_id.endswith("@acme.example>")
    assert smtp_server.arrived[0].mail["Message-ID"] == message.message_id


def test_message_ids_of_emails_written_here_end_in_the_senders_domain(crm, qa, configured, as_administrator):
    call_command("send_email", "crm", "qa", "--to", "a@customer.example", "--subject", "Hi")
    form = {"app": crm.pk, "address": "a@customer.example"}
    assert as_administrator.post("/management/configure/emails/qa/test-mail/", form).status_code == 302
    ids = list(Message.objects.values_list("message_id", flat=True))
    assert [message_id.rpartition("@")[2] for message_id in ids] == ["acme.example>"] * 2


@pytest.mark.parametrize(
    ("machine", "name"), [("mx.acme.com", "mx.acme.com"), ("localhost", ""), ("laptop.local", ""), ("db.localdomain", "")]
)
def test_only_a_name_that_others_can_know_is_taken_from_the_machine(monkeypatch, machine, name):
    from emailconfig.models import machine_name

    monkeypatch.setattr("emailconfig.models.DNS_NAME", machine)
    assert machine_name() == name
