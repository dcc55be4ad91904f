"""Django's mail API into the outbox: what Django's own backend tests ask of every backend (django/django tests/mail)."""

from __future__ import annotations

import smtplib
from contextlib import suppress
from email import message_from_bytes, policy

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import (
    EmailMessage,
    EmailMultiAlternatives,
    get_connection,
    mail_admins,
    mail_managers,
    send_mail,
    send_mass_mail,
)
from django.db import IntegrityError, transaction

from organization.models import App
from outbox.backend import EmailBackend
from outbox.exceptions import SubmissionRefused
from outbox.models import Message
from tests.support.portal import configure

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _outbox(settings, crm, qa):
    configure(qa)
    settings.EMAIL_BACKEND = "outbox.backend.EmailBackend"
    settings.OUTBOX_APP, settings.OUTBOX_STAGE = "crm", "qa"


def stored() -> list:
    return [message_from_bytes(bytes(message.content.data), policy=policy.default) for message in Message.objects.order_by("pk")]


def test_send_returns_how_many_were_accepted():
    email = EmailMessage("Subject", "Content\n", "from@example.com", ["to@example.com"])
    assert mail.get_connection().send_messages([email]) == 1
    (message,) = stored()
    assert message["subject"] == "Subject"
    assert message.get_payload() == "Content\r\n"
    assert message["from"] == "from@example.com"
    assert message["to"] == "to@example.com"


def test_a_message_id_is_the_callers_or_ends_in_the_stages_senders_domain():
    for headers in ({}, {"message-ID": "<1@caller.example>"}):
        EmailMessage("S", "C", "from@example.com", ["to@example.com"], headers=headers).send()
    made, given = Message.objects.order_by("pk").values_list("message_id", flat=True)
    assert made.endswith("@acme.example>")
    assert given == "<1@caller.example>"
    assert [message.get_all("Message-ID", []) for message in stored()] == [[], ["<1@caller.example>"]]


def test_several_mails_in_one_go():
    first = EmailMessage("One", "1", "from@example.com", ["a@example.com"])
    second = EmailMessage("Two", "2", "from@example.com", ["b@example.com"])
    assert mail.get_connection().send_messages([first, second]) == 2
    assert [message["subject"] for message in stored()] == ["One", "Two"]


@pytest.mark.parametrize("nothing", [[], None])
def test_no_mail_is_no_error(nothing):
    assert not EmailBackend().send_messages(nothing)


def test_a_mail_without_recipients_is_passed_over():
    assert EmailMessage("Subject", "Content", "from@example.com", []).send() == 0
    assert not Message.objects.exists()


def test_cc_and_bcc_are_recipients_and_bcc_is_in_no_header():
    EmailMessage("S", "C", "from@example.com", ["a@example.com"], cc=["b@example.com"], bcc=["c@example.com"]).send()
    assert Message.objects.get().requested == ["a@example.com", "b@example.com", "c@example.com"]
    (message,) = stored()
    assert message["Cc"] == "b@example.com"
    assert "c@example.com" not in message.as_string()


def test_unicode_in_subject_names_and_body():
    EmailMessage("Chère maman", "Je t'aime très fort", "Léa <from@example.com>", ["Größe <to@example.com>"]).send()
    (message,) = stored()
    assert message["subject"] == "Chère maman"
    assert message.get_content().strip() == "Je t'aime très fort"
    assert Message.objects.get().envelope_sender == "from@example.com"


def test_idn_domains():
    assert send_mail("Subject", "Content", "from@öäü.example", ["to@öäü.example"]) == 1
    assert Message.objects.get().requested == ["to@öäü.example"]


def test_a_long_line_survives():
    send_mail("S", "x" * 5000, "from@example.com", ["to@example.com"])
    (message,) = stored()
    assert message.get_content().strip() == "x" * 5000


def test_alternatives_and_attachments():
    email = EmailMultiAlternatives("S", "Text", "from@example.com", ["to@example.com"])
    email.attach_alternative("<p>HTML</p>", "text/html")
    email.attach("datei.txt", "Inhalt", "text/plain")
    email.send()
    (message,) = stored()
    assert message.get_body(("html",)).get_content().strip() == "<p>HTML</p>"
    assert [part.get_filename() for part in message.iter_attachments()] == ["datei.txt"]


def test_mass_mail_admins_and_managers(settings):
    settings.ADMINS = settings.MANAGERS = [("Nobody", "nobody@example.com")]
    assert send_mass_mail([("S", "C", "from@example.com", ["a@example.com"])] * 2) == 2
    mail_admins("hi", "there")
    mail_managers("hi", "there")
    assert Message.objects.count() == 4


def test_header_injection_is_refused():
    from django.core.mail.message import BadHeaderError

    with pytest.raises(BadHeaderError):
        EmailMessage("Subject\nInjection", "C", "from@example.com", ["to@example.com"]).send()
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"to": ["to@no space.example"]},
        {"to": ["Ana <ana@example.com>, Bob <bob@example.com>"]},
        {"to": ["fine@example.com"], "bcc": ["ana@example.com\r\neve@example.com"]},
        {"to": ["fine@example.com"], "bcc": ["ana@example.com\r\nRCPT TO:<eve@example.com>"]},
        {"to": ["fine@example.com"], "cc": ["nobody"]},
        {"to": ["fine@example.com"], "from_email": "ana@example.com, bob@example.com"},
    ],
)
def test_what_isnt_exactly_one_address_refuses_the_whole_email(bad):
    with pytest.raises(ValueError, match=r"address|entry|line"):
        EmailMessage("S", "C", **bad).send()
    assert not Message.objects.exists()


def test_a_recipient_that_no_email_can_reach_doesnt_take_the_others_with_it():
    unreachable = "x" * 65 + "@example.com"
    assert EmailMessage("S", "C", "from@example.com", ["ok@example.com", unreachable], bcc=["ok2@example.com"]).send() == 1
    statuses = dict(Message.objects.get().recipients.values_list("address", "status"))
    assert statuses == {"ok@example.com": "queued", "ok2@example.com": "queued", unreachable: "failed"}


def test_an_email_that_can_reach_nobody_is_refused_in_words():
    with pytest.raises(smtplib.SMTPException, match="at most 64 bytes"):
        EmailMessage("S", "C", "from@example.com", ["x" * 65 + "@example.com"]).send()
    assert not Message.objects.exists()


def test_a_sender_without_a_domain_is_left_to_the_stages_sender():
    assert EmailMessage("S", "C", "root", ["to@example.com"]).send() == 1
    assert "the email leaves with the stage's sender" in Message.objects.get().notes[0]


def test_a_bad_recipient_is_passed_over_silently():
    email = EmailMessage("S", "C", "from@example.com", ["to@no space.example"])
    assert email.send(fail_silently=True) == 0
    assert not Message.objects.exists()


def test_app_and_stage_can_be_named_by_option(shop, production):
    connection = get_connection("outbox.backend.EmailBackend", app="shop", stage="production", alias=None)
    EmailMessage("S", "C", "from@example.com", ["to@example.com"], connection=connection).send()
    message = Message.objects.get()
    assert (message.app, message.stage) == (shop, production)


def test_unknown_app_or_stage_is_a_configuration_error(settings):
    settings.OUTBOX_STAGE = "nowhere"
    with pytest.raises(ImproperlyConfigured, match="nowhere"):
        send_mail("S", "C", "from@example.com", ["to@example.com"])


def test_open_and_close_and_the_connection_as_a_context_manager():
    connection = mail.get_connection()
    connection.open()
    connection.close()
    with mail.get_connection() as connection:
        assert connection.send_messages([EmailMessage("S", "C", "from@example.com", ["to@example.com"])]) == 1


def test_a_refused_mail_leaves_the_callers_transaction_usable():
    with transaction.atomic():
        with pytest.raises((SubmissionRefused, ValueError)):
            EmailMessage("S", "C", "from@example.com", ["bad address@example.com"]).send()
        assert send_mail("S", "C", "from@example.com", ["to@example.com"]) == 1
    assert Message.objects.count() == 1


def test_in_a_transaction_that_is_rolled_back_anyway_nothing_is_accepted(crm):
    send_mail("Before", "Text", "crm@acme.example", ["ana@example.com"])  # the process knows the place now
    with transaction.atomic():
        with suppress(IntegrityError), transaction.atomic(savepoint=False):
            App.objects.create(key=crm.key, name="The same key")
        with pytest.raises(transaction.TransactionManagementError):
            send_mail("Lost", "Text", "crm@acme.example", ["ana@example.com"])
    assert Message.objects.count() == 1
