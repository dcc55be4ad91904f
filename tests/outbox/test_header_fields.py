"""One field as every server takes it: ASCII where an address lets it, and no line over 998 bytes."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.header import decode_header, make_header
from typing import Any

import pytest

from outbox.headers.fields import transportable


def leave(raw: str | bytes) -> bytes:
    line = transportable((raw.encode() if isinstance(raw, str) else raw) + b"\r\n")
    assert line.endswith(b"\r\n")
    assert all(len(part) <= 998 for part in line.split(b"\r\n"))
    assert b"\n" not in line.replace(b"\r\n", b"")
    return line


def parsed(raw: str | bytes) -> Any:
    return message_from_bytes(leave(raw) + b"\r\n", policy=policy.default)


@pytest.mark.parametrize("raw", [b"Subject: Hello", b"DKIM-Signature:  a=1;\r\n\tb=2", b"X-Odd:", b"To : ana@acme.example"])
def test_what_every_server_takes_leaves_as_the_app_wrote_it(raw):
    assert leave(raw) == raw + b"\r\n"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Subject: Grüße aus Köln", "Grüße aus Köln"),
        ("Subject: Größe ärgert über alle Maße hinaus, sagt ein sehr langer Betreff ohne Ende und Übermaß", None),
        ("Subject: Grüße =?utf-8?q?an_J=C3=B6rg?=", "Grüße an Jörg"),
        ("Subject: Grüße".encode("latin-1"), "Grüße"),
        ("X-Original-Subject: 報告書", "報告書"),
    ],
)
def test_raw_letters_of_a_text_are_encoded(raw, text):
    line = leave(raw)
    assert line.isascii()
    expected = text or raw.partition(": ")[2]
    assert str(make_header(decode_header(line.partition(b": ")[2].decode().replace("\r\n", "")))).strip() == expected


def test_raw_letters_in_names_of_people_are_encoded_and_their_addresses_kept():
    mail = parsed('To: Jörg <joerg@acme.example>, "Müller, Ana" <ana@bücher.example>')
    assert [(address.display_name, address.addr_spec) for address in mail["To"].addresses] == [
        ("Jörg", "joerg@acme.example"),
        ("Müller, Ana", "ana@xn--bcher-kva.example"),
    ]
    assert leave("From: jörg@acme.example").decode() == "From: jörg@acme.example\r\n"  # only SMTPUTF8 can carry it


@pytest.mark.parametrize("address", ["ana@\x80", "ana@-é-.example", "ana@é_x.example", f"ana@{'é' * 70}.example"])
def test_an_address_that_no_server_takes_is_encoded_as_a_text(address):
    line = leave(f"To: {address}, ben@acme.example")
    assert line.isascii()
    assert str(make_header(decode_header(line.decode().strip()))) == f"To: {address}, ben@acme.example"


def test_raw_letters_in_a_file_name_are_encoded_as_a_parameter():
    assert parsed('Content-Disposition: attachment; filename="Grüße.pdf"').get_filename() == "Grüße.pdf"


@pytest.mark.parametrize("separator", [", ", ",", " "])
def test_a_thousand_recipients_make_no_line_that_a_server_refuses(separator):
    people = [f"customer{number}@example.com" for number in range(1000)]
    line = leave(f"X-Original-To: {separator.join(people)}")
    assert line.replace(b"\r\n ", b" ").count(b"@") == 1000
    assert all(person.encode() in line for person in people)


def test_a_long_word_is_broken_and_nothing_of_it_is_lost():
    assert leave("X-Original-X-SMTPAPI: " + "x" * 5000).count(b"x") == 5000
    assert parsed("Subject: " + "y" * 2000)["Subject"] == "y" * 2000
    assert leave(b"X-" + b"n" * 996 + b": v").startswith(b"X-nnn")


def test_a_line_of_white_space_does_not_end_the_header():
    assert leave(b"Subject: one\r\n \t\r\n two") == b"Subject: one two\r\n"
