"""A message's bytes: where the header ends, and what is read from it at acceptance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.headers.parser import addresses_in, holds_invitation, readable, split_header, with_crlf


def names(content: bytes) -> list[bytes]:
    return [field.name for field in split_header(content)[0]]


@pytest.mark.parametrize(
    ("raw", "sent"),
    [(b"a\nb", b"a\r\nb"), (b"a\rb", b"a\r\nb"), (b"a\r\nb", b"a\r\nb"), (b"\n.\n", b"\r\n.\r\n"), (b"\r\r\n", b"\r\n\r\n")],
)
def test_line_ends_can_not_smuggle_a_second_mail(raw, sent):
    assert with_crlf(raw) == sent


def test_a_mail_without_a_header_is_all_body():
    assert split_header(b"\r\nTo: nobody@example.com\r\n") == ([], b"To: nobody@example.com\r\n")
    assert split_header(b"") == ([], b"")


@pytest.mark.parametrize(
    ("content", "fields", "body"),
    [
        (b"Subject: x\r\nTo: a@b\r\n\r\nHi\r\n", [b"subject", b"to"], b"Hi\r\n"),
        (b"Subject: x\r\nHi Ana,\r\nCc: is missing\r\n", [b"subject"], b"Hi Ana,\r\nCc: is missing\r\n"),
        (b"Hi Ana\r\n\r\nTo: a@b\r\n", [], b"Hi Ana\r\n\r\nTo: a@b\r\n"),
        (b" indented\r\nTo: a@b\r\n", [], b" indented\r\nTo: a@b\r\n"),
        (b"From crm@acme.example Thu Nov 26\r\nSubject: x\r\n\r\nHi\r\n", [b"subject"], b"Hi\r\n"),
        (b"Subject: x\r\n folded\r\n\t \r\nTo : a@b", [b"subject", b"to"], b""),
    ],
)
def test_text_that_follows_the_header_without_an_empty_line_begins_the_body(content, fields, body):
    assert names(content) == fields
    assert split_header(content)[1] == body


@given(st.binary(max_size=300))
def test_nothing_of_a_message_is_lost_between_header_and_body(content):
    content = b"Subject: x\r\n" + with_crlf(content)
    fields, body = split_header(content)
    header = b"".join(field.raw for field in fields)
    assert header + body in (content, content.replace(b"\r\n\r\n", b"\r\n", 1)) or header == content + b"\r\n"


def test_names_of_people_and_subjects_are_decoded():
    assert readable(b"=?utf-8?q?Ol=C3=A1?= mundo") == "Olá mundo"
    assert readable(b"=?no-such-charset?q?x?=") == "=?no-such-charset?q?x?="
    people = addresses_in([b'"Silva, Ana" <ana@acme.example>, ben@acme.example', b"=?utf-8?q?Ol=C3=A1?= <ola@acme.example>"])
    assert [person.email for person in people] == ["ana@acme.example", "ben@acme.example", "ola@acme.example"]
    assert people[2].name == "Olá"


def test_an_invitation_is_recognized_in_the_header_and_in_a_part():
    assert holds_invitation(b"Content-Type: text/calendar; method=REQUEST\r\n\r\n")
    assert holds_invitation(b"Subject: x\r\n\r\n--b\r\nContent-Type: TEXT/CALENDAR\r\n")
    assert not holds_invitation(b"Subject: our calendar\r\n\r\nHi\r\n")
