"""What is accepted, what is refused with which words, and what is stored."""

from __future__ import annotations

import pytest
from django.db import transaction

from organization.recipient_policy.changes import allow
from outbox.exceptions import SubmissionRefused
from outbox.headers.outgoing import envelope_sender
from outbox.models import Content, HoldReason, Message, Recipient, Source, Status
from outbox.submission import MAX_RECIPIENTS, Envelope, submit_together
from outbox.values import Submission
from tests.support.outbox import send, set_list, statuses
from tests.support.portal import OPERATOR, configure, mail

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _configured(qa):
    configure(qa)


def test_an_accepted_mail_is_queued_with_what_the_app_asked_for(crm, qa):
    message = send(crm, qa, "customer@example.com", "Boss@EXAMPLE.com")
    message.refresh_from_db()
    assert message.status == Status.QUEUED
    assert message.requested == ["customer@example.com", "Boss@example.com"]
    assert (message.subject, message.from_address, message.envelope_sender) == ("Hello", "crm@acme.example", "crm@acme.example")
    assert statuses(message) == {"customer@example.com": "queued", "Boss@example.com": "queued"}
    assert bytes(message.content.data) == mail()


@pytest.mark.parametrize(
    ("recipients", "code", "enhanced"),
    [
        ([], 554, "5.5.1"),
        (["nobody"], 553, "5.1.3"),
        (["a@b@c"], 553, "5.1.3"),
        (["a@example.com\r\nRCPT TO:<victim@example.com>"], 553, "5.1.3"),
        (["vic\u200btim@example.com"], 553, "5.1.3"),
        (["vic\u200btim@example.com", "x" * 65 + "@example.com"], 553, "5.1.3"),
        (["fine@example.com", "<broken"], 553, "5.1.3"),
        (["fine@example.com", "a@example.com\r\nRCPT TO:<victim@example.com>"], 553, "5.1.3"),
        (["fine@example.com", "a@example.com, b@example.com"], 553, "5.1.3"),
        ([f"a{number}@example.com" for number in range(MAX_RECIPIENTS + 1)], 452, "4.5.3"),
    ],
)
def test_a_bad_envelope_is_refused_and_nothing_is_stored(crm, qa, recipients, code, enhanced):
    from outbox.models import Source
    from outbox.submission import Envelope, submit

    with pytest.raises(SubmissionRefused) as refused:
        submit(crm, qa, Envelope("crm@acme.example", recipients), mail(), via=Source.COMMAND)
    assert (refused.value.code, refused.value.enhanced) == (code, enhanced)
    assert not Message.objects.exists()
    assert not Content.objects.exists()


def test_a_recipient_that_no_email_can_reach_fails_alone(crm, qa):
    hidden, long = "vic\u200btim@example.com", "x" * 300 + "@example.com"
    message = send(crm, qa, hidden, "fine@example.com", long, long)
    cut = long[:253] + "…"
    assert statuses(message) == {"fine@example.com": "queued", hidden: "failed", cut: "failed"}
    assert message.requested == ["fine@example.com", hidden, cut]
    failed = message.recipients.get(address=hidden)
    assert "vic\\u200btim@example.com” contains a line break or an invisible character" in failed.last_reply
    assert failed.finished is not None
    set_list(crm, qa, "ana@acme.example")
    assert statuses(send(crm, qa, hidden, "fine@example.com")) == {"ana@acme.example": "queued", hidden: "failed"}


@pytest.mark.parametrize("sender", ["root", "no at sign", "a@exa mple.com", "x" * 65 + "@a.example", "x@" + "y." * 150 + "com"])
def test_a_sender_that_is_no_address_is_left_to_the_stages_sender(crm, qa, sender):
    message = send(crm, qa, sender=sender)
    settings = configure(qa, from_domains="*")
    assert envelope_sender(message.envelope_sender, settings, is_test_mail=False) == "no-reply@acme.example"
    assert "isn't an address, so the email leaves with the stage's sender." in message.notes[0]


def test_a_sender_with_a_line_break_is_refused_and_the_null_sender_stays_null(crm, qa):
    with pytest.raises(SubmissionRefused, match="line break"):
        send(crm, qa, sender="crm@acme.example\r\nRCPT TO:<victim@example.com>")
    message = send(crm, qa, sender="")
    assert (message.envelope_sender, message.notes) == ("", [])


def test_too_large_a_mail_is_refused(crm, qa, settings):
    settings.MESSAGE_MAX_BYTES = 100
    with pytest.raises(SubmissionRefused) as refused:
        send(crm, qa, content=b"x" * 101)
    assert refused.value.reply.startswith("552 5.3.4")


def test_an_archived_app_or_stage_sends_nothing(crm, qa):
    crm.archived = True
    crm.save()
    with pytest.raises(SubmissionRefused, match="archived"):
        send(crm, qa)


def test_a_stage_without_settings_accepts_and_holds(crm, production):
    message = send(crm, production)
    assert (message.status, message.hold_reason) == (Status.HELD, HoldReason.STAGE_NOT_CONFIGURED)
    assert statuses(message) == {"customer@example.com": "held"}


def test_an_active_list_takes_the_recipients_place_at_once(crm, qa):
    set_list(crm, qa, "ana@acme.example")
    message = send(crm, qa, "customer@example.com", "boss@example.com")
    assert statuses(message) == {"ana@acme.example": "queued"}
    assert message.requested == ["customer@example.com", "boss@example.com"]


def test_the_list_of_another_app_or_stage_does_not_matter(crm, shop, qa, production):
    set_list(shop, qa, "ana@acme.example")
    set_list(crm, production, "ana@acme.example")
    assert statuses(send(crm, qa)) == {"customer@example.com": "queued"}


def test_an_active_list_whose_only_member_was_removed_holds_the_mail(crm, qa, viewer):
    set_list(crm, qa, viewer.email)
    viewer.is_active = False
    viewer.save()
    message = send(crm, qa)
    assert (message.status, message.hold_reason) == (Status.HELD, HoldReason.TEST_LIST_EMPTY)
    assert not Recipient.objects.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"no header at all",
        b"Subject: " + b"\xff\xfe" * 20 + b"\r\n\r\n",
        b"Subject: =?utf-8?b?!!!?=\r\n\r\n",
        b"Subject: \x00null\r\nFrom: \x00\r\n\r\n",
        b"From: " + b"a" * 5000 + b"@example.com\r\n\r\n",
        b"Message-ID: " + b"<" * 3000 + b"\r\n\r\n",
        "Subject: \ud800".encode("utf-8", "surrogatepass") + b"\r\n\r\n",
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n" * 300),
        b"From: Group: a@example.com, b@example.com;\r\n\r\n",
    ],
)
def test_strange_content_is_accepted_all_the_same(crm, qa, content):
    message = send(crm, qa, content=content)
    message.refresh_from_db()
    assert message.status == Status.QUEUED
    assert message.message_id


def test_inside_a_transaction_the_mail_is_part_of_it(crm, qa):
    with pytest.raises(RuntimeError), transaction.atomic():
        send(crm, qa)
        raise RuntimeError("the caller's own work failed")
    assert not Message.objects.exists()


def test_accepting_costs_the_same_number_of_queries_for_one_and_for_a_hundred_recipients(
    crm, qa, django_assert_num_queries, django_assert_max_num_queries
):
    with django_assert_max_num_queries(9):
        send(crm, qa)
    with django_assert_max_num_queries(9):
        send(crm, qa, *(f"c{number}@example.com" for number in range(100)))


def test_messages_that_are_submitted_together_are_each_routed_by_their_own_place(crm, shop, qa, production):
    """Also right after a change, and where one of the places accepts nothing."""
    shop.archived = True
    shop.save()
    allow(qa, ["a@example.com", "b@example.com"], OPERATOR, typed_stage_name=qa.name)

    def together() -> list[dict[str, str] | str]:
        envelope = Envelope("crm@acme.example", ["customer@example.com"])
        places = [(crm, qa), (crm, production), (shop, qa), (crm, qa)]
        answers = submit_together([Submission(app, stage, envelope, mail(), Source.COMMAND) for app, stage in places])
        return [answer.text if isinstance(answer, SubmissionRefused) else statuses(answer.message()) for answer in answers]

    refused = "Web Shop is archived and sends no mail."
    held, queued = {"customer@example.com": "held"}, {"customer@example.com": "queued"}
    assert together() == [queued, held, refused, queued]
    set_list(crm, qa, "ana@acme.example")
    assert together() == [{"ana@acme.example": "queued"}, held, refused, {"ana@acme.example": "queued"}]
    assert Message.objects.count() == Content.objects.count() == 6
