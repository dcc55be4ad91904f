"""The header a message leaves with: docs/reference/routing.md as a test."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.addresses import NamedAddress
from emailconfig.models import SmtpSettings
from organization.recipient_policy.policy import AllowedPattern, PolicyState, RecipientPolicy
from outbox.headers.outgoing import HeaderContext, envelope_sender, outgoing
from outbox.headers.parser import split_header, with_crlf
from outbox.headers.received import Hop
from outbox.models import Source
from tests.support.header_judge import strays

LIST = [NamedAddress("ana@acme.example", "Ana Silva"), NamedAddress("ben@acme.example")]
SENDER = "no-reply@acme.example"
HOP = Hop("crm", "qa", Source.GATEWAY, "acme-1", "portal.acme.example", 17, datetime(2026, 11, 23, tzinfo=UTC))


def stage(from_domains: str = "", sender_name: str = "") -> SmtpSettings:
    return SmtpSettings(sender_address=SENDER, sender_name=sender_name, from_domains=from_domains)


def leave(header: str | bytes, *, smtp: SmtpSettings | None = None, **values: Any) -> tuple[Any, list[str]]:
    """The message as it arrives, and the notes of the log."""
    content = with_crlf(header.encode() if isinstance(header, str) else header) + b"\r\nHi!\r\n"
    fields, body = split_header(content)
    context = HeaderContext(HOP, "<set@portal>", **values)
    block, notes = outgoing(fields, context, smtp or stage())
    assert body == b"Hi!\r\n"
    assert block.endswith(b"\r\n\r\n")
    assert all(len(line) <= 998 for line in block.split(b"\r\n"))
    return message_from_bytes(block + body, policy=policy.default), notes


def real(header: str | bytes, smtp: SmtpSettings | None = None) -> tuple[Any, list[str]]:
    return leave(header, smtp=smtp)


def as_test_mail(header: str | bytes, smtp: SmtpSettings | None = None, **values: Any) -> tuple[Any, list[str]]:
    return leave(header, smtp=smtp, test_list=LIST, **values)


APP_MAIL = (
    "From: crm@acme.example\nTo: Customer <customer@example.com>,\n other@example.com\nCc: cc@example.com\n"
    "Bcc: secret@example.com\nReturn-Path: <bounce@example.com>\nSubject: Hello\nMessage-ID: <own@app>\n"
    "Date: Mon, 23 Nov 2026 10:00:00 +0000\n"
)


# Real mail


def test_real_mail_keeps_its_header_but_bcc_and_return_path():
    mail, notes = real(APP_MAIL + "X-SMTPAPI: {}\nList-Unsubscribe: <mailto:leave@acme.example>\n")
    assert mail["To"] == "Customer <customer@example.com>, other@example.com"
    assert mail["Cc"] == "cc@example.com"
    assert mail["Bcc"] is None
    assert mail["Return-Path"] is None
    assert mail["Message-ID"] == "<own@app>"
    assert mail["X-Email-App"] is None
    assert mail["X-SMTPAPI"] == "{}"
    assert mail["List-Unsubscribe"] == "<mailto:leave@acme.example>"
    assert mail["Received"].startswith("from crm by portal.acme.example with ESMTPSA id acme-1.17;")
    assert notes == []


@pytest.mark.parametrize("given", ["", "Message-ID:\nDate: \n", "Message-ID: \n \n"])
def test_a_missing_or_empty_message_id_and_date_are_set(given):
    mail, _ = real(f"From: crm@acme.example\n{given}")
    assert mail.get_all("Message-ID") == ["<set@portal>"]
    assert mail.get_all("Date") == ["Mon, 23 Nov 2026 00:00:00 +0000"]


def test_a_foreign_sender_is_replaced_and_gets_the_answers_unless_the_app_said_otherwise():
    header = "From: Boss <boss@other.example>\nSender: x@other.example\nDKIM-Signature: v=1; b=x\n"
    mail, notes = real(header, stage(sender_name="Acme Größe"))
    assert mail["From"] == "Acme Größe <no-reply@acme.example>"
    assert mail["Reply-To"] == "Boss <boss@other.example>"
    assert mail["Sender"] is None
    assert mail["DKIM-Signature"] is None
    assert "boss@other.example" in notes[0]
    mail, _ = real("From: boss@other.example\nReply-To: team@acme.example\n")
    assert mail["Reply-To"] == "team@acme.example"


def test_a_signature_stays_where_the_sender_stays():
    mail, notes = real("From: crm@acme.example\nDKIM-Signature: v=1; b=x\nSender: bulk@acme.example\n")
    assert (mail["From"], mail["Sender"], mail["DKIM-Signature"]) == ("crm@acme.example", "bulk@acme.example", "v=1; b=x")
    assert notes == []


def test_a_foreign_sender_field_goes_though_from_stays():
    mail, notes = real("From: crm@acme.example\nSender: x@other.example\n")
    assert (mail["From"], mail["Sender"]) == ("crm@acme.example", None)
    assert "x@other.example" in notes[0]


@pytest.mark.parametrize(
    "given", ["From: Acme CRM\n", "From:\n", "From: <>\n", "", "From: <crm@acme.example\n", "From: a@b@acme.example\n"]
)
@pytest.mark.parametrize("send", [real, as_test_mail])
def test_a_from_that_names_nobody_makes_no_reply_to_and_leaves_a_note(given, send):
    mail, notes = send(f"{given}Subject: s\n", stage("*"))
    assert mail.get_all("From") == [SENDER]
    assert mail["Reply-To"] is None
    assert len(notes) == 1
    assert notes[0].endswith("so the email left as no-reply@acme.example.")


@pytest.mark.parametrize(
    "given", ["crm@acme.example <crm@acme.example>", "crm@acme.example (Acme, Inc.)", "Acme, Inc. <crm@acme.example>"]
)
@pytest.mark.parametrize("send", [real, as_test_mail])
def test_a_from_that_strict_pythons_dont_read_stays(given, send):
    mail, notes = send(f"From: {given}\nSubject: s\n")
    assert [address.addr_spec for address in mail["From"].addresses][-1:] == ["crm@acme.example"]
    assert notes == []


def test_raw_letters_and_long_lines_leave_as_every_server_takes_them():
    many = ",".join(f"customer{number}@example.com" for number in range(500))
    mail, _ = real(f"From: crm@acme.example\nSubject: Grüße\nTo: {many}\n".encode())
    assert mail["Subject"] == "Grüße"
    assert len(mail["To"].addresses) == 500


@pytest.mark.parametrize(
    ("requested", "is_test_mail", "domains", "leaves"),
    [
        ("crm@acme.example", False, "", "crm@acme.example"),
        ("boss@other.example", False, "", SENDER),
        ("boss@other.example", False, "*", "boss@other.example"),
        ("", False, "", ""),
        ("", True, "", ""),
        ("bounce+karl=customer.example@acme.example", True, "*", SENDER),
    ],
)
def test_the_envelope_sender_of_test_mail_is_the_stages(requested, is_test_mail, domains, leaves):
    assert envelope_sender(requested, stage(domains), is_test_mail=is_test_mail) == leaves


# Test mail


def test_test_mail_is_addressed_to_the_list_alone():
    mail, notes = as_test_mail(APP_MAIL, log_url="https://portal.acme.example/monitor/email-log/qa/17/")
    assert mail["To"] == "Ana Silva <ana@acme.example>, ben@acme.example"
    assert mail["Cc"] is None
    assert mail["X-Original-To"] == "Customer <customer@example.com>, other@example.com"
    assert mail["X-Original-Cc"] == "cc@example.com"
    assert mail["X-Email-App"] == "crm"
    assert mail["X-Email-Stage"] == "qa"
    assert mail["X-Email-Log"] == "https://portal.acme.example/monitor/email-log/qa/17/"
    assert mail["From"] == "crm@acme.example"
    assert "secret@example.com" not in mail.as_string()
    assert notes == []


RENAMED = [
    *("X-SMTPAPI", "X-MC-BccAddress", "X-MSYS-API", "X-Mailgun-Variables", "X-PM-Tag", "X-SES-Configuration-Set", "X-MJ-ID"),
    *("Sender", "List-Unsubscribe", "List-Unsubscribe-Post", "Mail-Followup-To", "Mail-Reply-To", "X-Confirm-Reading-To"),
    *("Resent-To", "Resent-Cc", "Resent-From", "Disposition-Notification-To", "Return-Receipt-To", "Errors-To", "Apparently-To"),
    *("DKIM-Signature", "ARC-Seal", "Received", "Delivered-To", "X-Email-App", "X-Original-To", "X-Invented", "cC"),
]  # fmt: skip


@pytest.mark.parametrize("name", RENAMED)
def test_every_other_field_of_test_mail_leaves_under_another_name(name):
    mail, _ = as_test_mail(f"From: crm@acme.example\n{name}: victim@example.com,\n\tmore@example.com\nSubject: x\n")
    assert mail[f"X-Original-{name}"].split() == ["victim@example.com,", "more@example.com"]
    assert "victim" not in "".join(value for field, value in mail.items() if not field.startswith("X-Original-"))
    assert mail["Subject"] == "x"


@pytest.mark.parametrize("name", ["Bcc", "bCC", "Resent-Bcc", "Return-Path"])
@pytest.mark.parametrize("send", [real, as_test_mail])
def test_hidden_recipients_leave_under_no_name(name, send):
    mail, _ = send(f"From: crm@acme.example\n{name}: victim@example.com,\n\tmore@example.com\nSubject: x\n")
    assert "victim" not in mail.as_string()


def test_test_mail_keeps_what_is_harmless():
    kept = [
        *("MIME-Version: 1.0", "Content-Type: text/plain", "Subject: Hello", "Date: Mon, 23 Nov 2026 10:00:00 +0000"),
        *("Message-ID: <own@app>", "In-Reply-To: <a@app>", "References: <a@app> <b@app>", "X-Priority: 1", "Importance: high"),
        *("Content-Language: de", "Auto-Submitted: auto-generated", "Precedence: bulk", "X-Auto-Response-Suppress: All"),
        *("X-Mailer: App 1.0", "User-Agent: App"),
    ]  # fmt: skip
    fields, _ = split_header("".join(f"{line}\r\n" for line in kept).encode())
    block, _ = outgoing(fields, HeaderContext(HOP, "", test_list=LIST), stage())
    assert block.decode().endswith("".join(f"{line}\r\n" for line in kept) + "\r\n")


@pytest.mark.parametrize(
    ("domains", "sender", "leaves"),
    [
        ("", "crm@acme.example", "crm@acme.example"),
        ("partner.example", "crm@partner.example", "crm@partner.example"),
        ("*", "karl.kunde@customer.example", SENDER),
        ("*", "crm@acme.example, karl.kunde@customer.example", SENDER),
        ("", '"karl.kunde@customer.example" <crm@acme.example>', SENDER),
        ("", "=?utf-8?q?karl=2Ekunde=40customer=2Eexample?= <crm@acme.example>", SENDER),
        ("", "=?unknown?q?karl?= <crm@acme.example>", SENDER),
        ("", "Acme CRM <crm@acme.example>", "Acme CRM <crm@acme.example>"),
    ],
)
def test_from_of_test_mail_stays_only_where_the_stage_names_its_domain(domains, sender, leaves):
    mail, notes = as_test_mail(f"From: {sender}\n", stage(domains))
    assert mail["From"] == leaves
    assert mail["Reply-To"] is None
    assert bool(notes) is (mail["From"] == SENDER)
    assert (mail["X-Original-From"] is not None) is (mail["From"] == SENDER)
    assert domains != "*" or "karl.kunde@customer.example isn't in a domain that this stage names" in notes[0]


@pytest.mark.parametrize(
    ("reply_to", "kept"),
    [
        ("ana@acme.example", True),
        ("Ana <ana@ACME.example>", True),
        ("boss@example.com", False),
        ("rubbish", False),
        ("(" * 3000, False),
        ("ana@acme.example, x@y.z", False),
        ("ana@acme.example\nReply-To: x@y.z", False),
        ('"x@y.z" <ana@acme.example>', False),
        ("=?utf-8?q?x=40y=2Ez?= <ana@acme.example>", False),
        ("<x@y.z <ana@acme.example>", False),
    ],
)
def test_answers_to_test_mail_stay_on_the_list(reply_to, kept):
    mail, _ = as_test_mail(f"From: crm@acme.example\nReply-To: {reply_to}\n")
    assert (mail["X-Original-Reply-To"] is not None) is not kept
    assert (mail["Reply-To"] == SENDER) is not kept


def test_the_subject_is_tagged_with_the_stage():
    def subject(header: str | bytes, tag: str) -> str:
        return as_test_mail(header, subject_tag=tag)[0].get_all("Subject")

    assert subject("Subject: Hello\n", "QA") == ["[QA] Hello"]
    assert subject("Subject: =?utf-8?q?Ol=C3=A1?=\n", "Prüfung") == ["[Prüfung] Olá"]
    assert subject("Subject: Grüße\nSubject: again\n", "QA") == ["[QA] Grüße"]
    assert subject("X: y\n", "QA") == ["[QA]"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("order-4711", True),
        ("ana@acme.example", True),
        ("customer=4711; mailto:ben@acme.example", True),
        ("karl.kunde@customer.example", False),
        ("=?utf-8?b?a2FybC5rdW5kZUBjdXN0b21lci5leGFtcGxl?=", False),
        ("=?utf-8?q?karl=40customer=2Eexample?=", False),
        ("https://acme.example/?u=karl%40customer.example", False),
        ("=?nonsense?q?karl=40customer.example?=", False),
        ("ana@acme.example@customer.example", False),
    ],
)
def test_a_field_that_the_stage_keeps_is_renamed_where_it_names_other_people(value, kept):
    mail, _ = as_test_mail(
        f"From: crm@acme.example\nx-acme-ORDER: {value}\nX-Other: 1\n", kept_headers=frozenset([b"x-acme-order"])
    )
    assert (mail["X-Acme-Order"] is not None) is kept
    assert (mail["X-Original-X-Acme-Order"] is not None) is not kept
    assert mail["X-Other"] is None


def test_a_name_that_looks_like_an_address_is_quoted():
    people = [NamedAddress("ana@acme.example", 'evil@example.com, "x" <y')]
    mail, _ = leave("Subject: x\n", test_list=people)
    assert [address.addr_spec for address in mail["To"].addresses] == ["ana@acme.example"]


def test_a_line_break_in_the_database_ends_no_field():
    people = [NamedAddress("eve@x.example\r\nBcc: eve@x.example"), NamedAddress("ana@acme.example", "Ana\r\nBcc: eve@x.example")]
    mail, _ = leave("Subject: x\n", test_list=people)
    assert mail["Bcc"] is None
    assert mail["To"] == '"Ana Bcc: eve@x.example" <ana@acme.example>'


# Whatever an app writes

_KNOWN = [
    *("To", "Cc", "bcc", "From", "Sender", "Reply-To", "Subject", "Message-ID", "Date", "RESENT-TO", "Return-Path", "Errors-To"),
    *("Received", "DKIM-Signature", "List-Unsubscribe", "X-SMTPAPI", "X-MC-BccAddress", "Mail-Followup-To", "Content-Type"),
    *("X-Original-To", "X-Email-App", "X-Acme-Order", "Disposition-Notification-To", "X-Envelope-To", "Comments", "X-Mailer"),
]  # fmt: skip
_NAMES = st.sampled_from(_KNOWN) | st.from_regex(r"\A[!-9;-~]{1,30}\Z")
_PEOPLE = st.sampled_from(
    [
        "victim@example.com",
        "<victim@example.com>",
        "Karl <victim@example.com>,\r\n x@y.example",
        "crm@acme.example",
        "crm@acme.example (Acme, Inc.)",
        '"victim@example.com" <crm@acme.example>',
        "ana@acme.example",
        "Ana <ana@acme.example>",
        "victim@example.com <ana@acme.example>",
        "Team: ana@acme.example, victim@example.com;",
        "=?utf-8?q?victim=40example=2Ecom?= <ana@acme.example>",
        "=?utf-8?b?dmljdGltQGV4YW1wbGUuY29t?=",
        "ana@acme.example (victim@example.com)",
        "(\\) victim@example.com",
        '"\\" <ana@acme.example>, victim@example.com',
        "<ana@acme.example",
        '{"to": ["victim@example.com"]}',
        "Jörg <victim@example.com>",
        "\xff\xfe",
        "",
    ]
)
_VALUES = _PEOPLE | st.lists(_PEOPLE, min_size=2, max_size=4).map(", ".join) | st.text(max_size=60)
_LINES = st.tuples(_NAMES, st.sampled_from([":", " :", ":\t", ": \r\n ", ":\r\n\t\r\n "]), _VALUES)
# 200 in every run of the tests; as many as one likes by hand.
_EXAMPLES = settings(max_examples=int(os.environ.get("HEADER_EXAMPLES", "200")))


@_EXAMPLES
@given(
    fields=st.lists(_LINES, max_size=12),
    encoding=st.sampled_from(["utf-8", "latin-1"]),
    domains=st.sampled_from(["", "*", "partner.example"]),
    tag=st.sampled_from(["", "QA", "Prüfung"]),
)
def test_test_mail_names_nobody_but_the_list_and_the_stages_sender(fields, encoding, domains, tag):
    content = "".join(f"{name}{colon}{value}\r\n" for name, colon, value in fields).encode(encoding, "replace")
    given_fields, _ = split_header(with_crlf(content) + b"\r\n")
    context = HeaderContext(HOP, "<set@portal>", LIST, frozenset([b"x-acme-order"]), tag, "https://portal.acme.example/17/")
    block, _ = outgoing(given_fields, context, stage(domains))
    people = [person.email for person in LIST]
    assert split_header(block)[1] == b""
    assert all(len(line) <= 998 for line in block.split(b"\r\n"))
    # The app's own address stays where its domain is the stage's: it is the stage's sender under another name.
    assert strays(message_from_bytes(block), [*people, "crm@acme.example"], SENDER, ["x-acme-order"]) == []


@given(st.binary(max_size=500))
def test_no_bytes_break_the_header(content):
    fields, _ = split_header(with_crlf(content))
    for people in (LIST, None):
        block, _ = outgoing(fields, HeaderContext(HOP, "<set@portal>", people), stage())
        assert b"\r\n\r\n" not in block[:-4]
        assert b"\n" not in block.replace(b"\r\n", b"")


# Test mail to allowed addresses

LISTED = PolicyState(RecipientPolicy.LISTED_ONLY, (AllowedPattern("dan@allowed.example"), AllowedPattern("beta.example")))


def as_allowed_mail(header: str, *recipients: str, only_allowed: bool) -> Any:
    """As it arrives at allowed recipients, where the list isn't Active."""
    values = {"policy": LISTED, "allowed_recipients": recipients, "only_allowed": only_allowed}
    arrived, _ = leave(header, test_list=(), **values)
    return arrived


def test_an_email_to_allowed_addresses_alone_keeps_its_people():
    header = "From: crm@other.example\nTo: Dan <dan@allowed.example>\nCc: bo@beta.example\nReply-To: bo@beta.example\n"
    arrived = as_allowed_mail(header, "dan@allowed.example", "bo@beta.example", only_allowed=True)
    assert (arrived["To"], arrived["Cc"], arrived["Reply-To"]) == (
        "Dan <dan@allowed.example>",
        "bo@beta.example",
        "bo@beta.example",
    )
    assert (arrived["From"], arrived["X-Original-From"]) == (SENDER, "crm@other.example")  # nobody allowed it


def test_a_field_with_one_stranger_in_it_doesnt_stay():
    header = f"From: {SENDER}\nTo: dan@allowed.example\nCc: bo@beta.example, real@person.example\n"
    arrived = as_allowed_mail(header, "dan@allowed.example", only_allowed=True)
    assert (arrived["To"], arrived["Cc"]) == ("dan@allowed.example", None)
    assert arrived["X-Original-Cc"] == "bo@beta.example, real@person.example"


def test_the_copy_for_allowed_recipients_names_those_of_to_and_cc_and_no_bcc():
    header = f"From: {SENDER}\nTo: real@person.example\nCc: dan@allowed.example\n"
    arrived = as_allowed_mail(header, "dan@allowed.example", "bo@beta.example", only_allowed=False)
    assert (arrived["To"], arrived["Cc"]) == ("dan@allowed.example", None)
    assert arrived["X-Original-To"] == "real@person.example"


def test_a_copy_whose_only_reader_was_in_bcc_names_nobody():
    arrived = as_allowed_mail(f"From: {SENDER}\nTo: real@person.example\n", "bo@beta.example", only_allowed=False)
    assert arrived["To"] == "undisclosed-recipients:;"


def test_beside_an_active_list_the_allowed_get_the_lists_copy():
    header = f"From: {SENDER}\nTo: real@person.example, dan@allowed.example\nReply-To: dan@allowed.example\n"
    arrived, _ = as_test_mail(header, policy=LISTED, allowed_recipients=["dan@allowed.example"])
    assert arrived["To"] == "Ana Silva <ana@acme.example>, ben@acme.example"
    assert arrived["Reply-To"] == "dan@allowed.example"
