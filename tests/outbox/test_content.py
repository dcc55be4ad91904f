"""The header a mail leaves with, and what is read from it at acceptance."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organization.addresses import NamedAddress
from outbox.content import Departure, addresses_in, outgoing, readable, split_header, with_crlf

LIST = [NamedAddress("ana@acme.example", "Ana Silva"), NamedAddress("ben@acme.example")]


def departure(**values: Any) -> Departure:
    defaults = {"app_key": "crm", "stage_key": "qa", "message_id": "<set@portal>", "date": datetime(2026, 11, 23, tzinfo=UTC)}
    return Departure(**{**defaults, **values})


def leave(header: str, body: str = "Hi!\r\n", **values: Any) -> Any:
    content = with_crlf(header.encode()) + b"\r\n" + body.encode()
    fields, rest = split_header(content)
    head = outgoing(fields, departure(**values))
    assert rest == body.encode()
    assert head.endswith(b"\r\n\r\n") or head == b"\r\n"
    assert all(len(line) <= 998 for line in head.split(b"\r\n"))
    return message_from_bytes(head + rest, policy=policy.default)


APP_MAIL = (
    "From: crm@acme.example\nTo: Customer <customer@example.com>,\n other@example.com\nCc: cc@example.com\n"
    "Bcc: secret@example.com\nReturn-Path: <bounce@example.com>\nSubject: Hello\nMessage-ID: <own@app>\n"
    "Date: Mon, 23 Nov 2026 10:00:00 +0000\n"
)


def test_real_mail_keeps_its_header_but_bcc_and_return_path():
    mail = leave(APP_MAIL)
    assert mail["To"] == "Customer <customer@example.com>, other@example.com"
    assert mail["Cc"] == "cc@example.com"
    assert mail["Bcc"] is None
    assert mail["Return-Path"] is None
    assert mail["Message-ID"] == "<own@app>"
    assert mail["X-Email-App"] is None


def test_a_missing_message_id_and_date_are_set():
    mail = leave("From: crm@acme.example\n")
    assert mail["Message-ID"] == "<set@portal>"
    assert mail["Date"] == "Mon, 23 Nov 2026 00:00:00 +0000"


def test_test_mail_is_addressed_to_the_list_alone():
    mail = leave(APP_MAIL, test_list=LIST)
    assert mail["To"] == "Ana Silva <ana@acme.example>, ben@acme.example"
    assert mail["Cc"] is None
    assert mail["X-Original-To"] == "Customer <customer@example.com>, other@example.com"
    assert mail["X-Original-Cc"] == "cc@example.com"
    assert mail["X-Email-App"] == "crm"
    assert mail["X-Email-Stage"] == "qa"
    assert "secret@example.com" not in mail.as_string()


@pytest.mark.parametrize(
    "name",
    [
        "Resent-To",
        "Resent-Cc",
        "Resent-Bcc",
        "Resent-From",
        "Return-Path",
        "Disposition-Notification-To",
        "Return-Receipt-To",
        "Errors-To",
        "Apparently-To",
        "Bcc",
        "bCC",
        "DKIM-Signature",
        "ARC-Seal",
        "X-Email-App",
        "X-Original-To",
    ],
)
def test_headers_that_could_lead_a_relay_astray_are_gone_from_test_mail(name):
    mail = leave(f"From: crm@acme.example\n{name}: victim@example.com,\n\tmore@example.com\nSubject: x\n", test_list=LIST)
    assert "victim@example.com" not in mail.as_string()
    assert "more@example.com" not in mail.as_string()
    assert mail["Subject"] == "x"


@pytest.mark.parametrize(
    ("reply_to", "kept"),
    [
        ("ana@acme.example", True),
        ("Ana <ana@ACME.example>", True),
        ("boss@example.com", False),
        ("rubbish", False),
        ("(" * 3000, False),
        ("ana@acme.example, x@y.z", False),
    ],
)
def test_answers_to_test_mail_stay_on_the_list(reply_to, kept):
    mail = leave(f"From: crm@acme.example\nReply-To: {reply_to}\n", test_list=LIST)
    assert (mail["Reply-To"] is not None) is kept
    assert (mail["X-Original-Reply-To"] is not None) is not kept


def test_the_subject_is_tagged_with_the_stage():
    assert leave("Subject: Hello\n", test_list=LIST, subject_tag="QA")["Subject"] == "[QA] Hello"
    assert leave("Subject: =?utf-8?q?Ol=C3=A1?=\n", test_list=LIST, subject_tag="Prüfung")["Subject"] == "[Prüfung] Olá"
    assert leave("X: y\n", test_list=LIST, subject_tag="QA")["Subject"] == "[QA]"


def test_a_replaced_sender_gets_the_answers_unless_the_app_said_otherwise():
    sender = NamedAddress("no-reply@acme.example", "Acme Größe")
    mail = leave("From: Boss <boss@other.example>\nSender: x@other.example\n", sender=sender)
    assert mail["From"] == "Acme Größe <no-reply@acme.example>"
    assert mail["Reply-To"] == "Boss <boss@other.example>"
    assert mail["Sender"] is None
    mail = leave("From: boss@other.example\nReply-To: team@acme.example\n", sender=sender)
    assert mail["Reply-To"] == "team@acme.example"


def test_test_mail_with_a_replaced_sender_sends_no_answer_outside():
    mail = leave("From: boss@other.example\n", test_list=LIST, sender=NamedAddress("no-reply@acme.example"))
    assert mail["Reply-To"] is None
    assert mail["X-Original-Reply-To"] == "boss@other.example"


def test_a_name_that_looks_like_an_address_is_quoted():
    mail = leave("Subject: x\n", test_list=[NamedAddress("ana@acme.example", 'evil@example.com, "x" <y')])
    assert [address.addr_spec for address in mail["To"].addresses] == ["ana@acme.example"]


def test_five_hundred_original_recipients_make_no_overlong_line():
    many = ", ".join(f"customer{number}@example.com" for number in range(500))
    mail = leave(f"To: {many}\n", test_list=LIST)
    assert mail["X-Original-To"].count("@") == 500


@pytest.mark.parametrize(
    ("raw", "sent"),
    [(b"a\nb", b"a\r\nb"), (b"a\rb", b"a\r\nb"), (b"a\r\nb", b"a\r\nb"), (b"\n.\n", b"\r\n.\r\n"), (b"\r\r\n", b"\r\n\r\n")],
)
def test_line_ends_can_not_smuggle_a_second_mail(raw, sent):
    assert with_crlf(raw) == sent


def test_a_mail_without_a_header_is_all_body():
    assert split_header(b"\r\nTo: nobody@example.com\r\n") == ([], b"To: nobody@example.com\r\n")


def test_names_of_people_and_subjects_are_decoded():
    assert readable(b"=?utf-8?q?Ol=C3=A1?= mundo") == "Olá mundo"
    assert readable(b"=?no-such-charset?q?x?=") == "=?no-such-charset?q?x?="
    assert [person.email for person in addresses_in([b'"Silva, Ana" <ana@acme.example>, ben@acme.example'])] == [
        "ana@acme.example",
        "ben@acme.example",
    ]


names = st.sampled_from(["To", "Cc", "bcc", "RESENT-TO", "Subject", "From", "Reply-To", "X-Any", "Errors-To", "Message-ID"])
victims = st.sampled_from(
    ["victim@example.com", "<victim@example.com>", "v <victim@example.com>,\r\n x@y.example", "\xff\xfe", ""]
)


@given(
    fields=st.lists(st.tuples(names, st.sampled_from([":", " :", ":\t"]), victims | st.text(max_size=60)), max_size=12),
    body=st.binary(max_size=200),
)
def test_no_header_a_relay_reads_names_anybody_but_the_list(fields, body):
    content = (
        with_crlf("".join(f"{name}{colon}{value}\r\n" for name, colon, value in fields).encode("utf-8", "replace")) + b"\r\n"
    )
    head = outgoing(split_header(content + body)[0], departure(test_list=LIST, subject_tag="QA"))
    fields_out, rest = split_header(head)
    assert rest == b""
    relay_reads = {b"to", b"cc", b"bcc", b"resent-to", b"resent-cc", b"resent-bcc", b"apparently-to", b"return-path", b"reply-to"}
    for field in fields_out:
        if field.name in relay_reads:
            assert {person.email for person in addresses_in([field.value])} <= {person.email for person in LIST}


@given(st.binary(max_size=500))
def test_no_bytes_break_the_header_or_touch_the_body(content):
    content = with_crlf(content)
    _, body = split_header(content)
    fields, rest = split_header(content)
    head = outgoing(fields, departure(test_list=LIST, sender=NamedAddress("s@acme.example")))
    assert rest == body
    assert b"\r\n\r\n" not in head[:-4]
    assert b"\n" not in head.replace(b"\r\n", b"")
