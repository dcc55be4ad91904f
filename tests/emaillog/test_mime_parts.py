"""A message taken apart: every part, wherever it is, and nothing that hostile bytes could break."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emaillog.html_body import remote_hosts, with_pictures
from emaillog.invitations import read_invitations
from emaillog.mime_parts import DEPTH_AT_MOST, Part, parts_of


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def multipart(kind: str, *parts: str, boundary: str = "b") -> str:
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\npreamble\n{inner}--{boundary}--\nepilogue'


def text_of(part: Part) -> str:
    return part.text(1000)[0]


PLAIN, HTML = "Content-Type: text/plain\n\nText", "Content-Type: text/html\n\n<p>HTML</p>"
PDF = 'Content-Type: application/pdf; name="a.pdf"\nContent-Transfer-Encoding: base64\n\nJVBERi0='


@pytest.mark.parametrize(
    ("message", "types"),
    [
        (PDF, ["application/pdf"]),
        ("Subject: x\n\nText", ["text/plain"]),
        (multipart("alternative", PLAIN, HTML), ["text/plain", "text/html"]),
        (
            multipart("alternative", PLAIN, multipart("mixed", HTML, PDF, HTML, boundary="m"), boundary="a"),
            ["text/plain", "text/html", "application/pdf", "text/html"],
        ),
        (
            multipart("signed", HTML, "Content-Type: application/pkcs7-signature\n\nx"),
            ["text/html", "application/pkcs7-signature"],
        ),
        (multipart("mixed", f"Content-Type: message/rfc822\n\n{multipart('mixed', PDF, boundary='i')}"), ["message/rfc822"]),
        (multipart("digest", "\nSubject: inner\n\nText"), ["message/rfc822"]),
        (multipart("mixed", PLAIN, boundary="it's (a) + b.c?"), ["text/plain"]),
        (multipart("mixed", multipart("mixed", PLAIN, boundary="ab"), PDF, boundary="a"), ["text/plain", "application/pdf"]),
        (f"Content-Type: multipart/mixed; boundary=b\n\n--b\n{PLAIN}", ["text/plain"]),
        ("Content-Type: multipart/mixed\n\nText", ["text/plain"]),
        ("Content-Type: multipart/mixed; boundary=b\n\nText", ["text/plain"]),
        ("Content-Type: nonsense\n\nText", ["text/plain"]),
    ],
)
def test_every_part_is_read(message, types):
    parts = list(parts_of(crlf(message)))
    assert [part.content_type for part in parts] == types
    assert {text_of(part) for part in parts if part.content_type == "text/plain"} <= {"Text"}
    assert {part.data() for part in parts if part.content_type == "application/pdf"} <= {b"%PDF-"}


def test_of_many_parts_only_those_are_read_that_are_asked_for():
    parts = parts_of(crlf("Content-Type: multipart/mixed; boundary=b\n\n" + "--b\n\n" * 300_000))
    assert [(part.content_type, part.data()) for part in islice(parts, 2)] == [("text/plain", b"")] * 2


def test_what_is_nested_too_deep_is_left_whole():
    message = PLAIN
    for level in range(DEPTH_AT_MOST + 1):
        message = multipart("mixed", message, boundary=f"b{level}")
    (part,) = parts_of(crlf(message))
    assert part.content_type == "multipart/mixed"
    assert b"Text" in part.data()


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("utf-8", "Grüße".encode(), "Grüße"),
        ("iso-8859-1", "Grüße".encode("latin-1"), "Grüße"),
        ("utf-16", "Grüße".encode("utf-16"), "Grüße"),
        ("utf-8", b"Gr\xfc\xdfe", "Gr��e"),
        ("utf8mb4", "Grüße".encode(), "Grüße"),
        ("utf8mb4", b"Gr\xfc\xdfe", "Grüße"),
        ("", "Grüße".encode(), "Grüße"),
        ("", b"caf\xe9", "café"),
        ("us-ascii", "Grüße".encode(), "Grüße"),
        ("hex", b"41", "41"),
        ("undefined", b"A", "A"),
        ("idna", b"xn--a", "xn--a"),
        ("punycode", b"a-9", "a-9"),
        ("utf-7", b"+2AA-x", "?x"),
    ],
)
def test_text_is_read_by_its_charset_or_else_as_utf8(charset, data, text):
    header = f'Content-Type: text/plain; charset="{charset}"\r\n\r\n'.encode()
    assert [part.text(1000) for part in parts_of(header + data)] == [(text, True)]


def test_a_limit_on_text_may_go_through_a_letter():
    (part,) = parts_of("Content-Type: text/plain\r\n\r\nxü😀".encode() + "üü😀".encode() * 10)
    for length in range(1, 33):
        shown, is_whole = part.text(length)
        assert ("xü😀" + "üü😀" * 10).startswith(shown)
        assert len(shown) == length
        assert is_whole == (length == 33)


@pytest.mark.parametrize(
    ("encoding", "raw", "data"),
    [
        ("base64", b"JVBE\r\nRi0=\r\n", b"%PDF-"),
        ("base64", b"JVBERi0", b"%PDF-"),
        ("BASE64", b"JVBERi0=", b"%PDF-"),
        ("base64", b"J", b"J"),
        ("quoted-printable", b"Gr=C3=BC=\r\n x=zz", b"Gr\xc3\xbc x=zz"),
        ("8bit", b"a=", b"a="),
        ("nonsense", b"a=", b"a="),
    ],
)
def test_what_cannot_be_decoded_is_given_as_it_came(encoding, raw, data):
    (part,) = parts_of(f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode() + raw)
    assert part.data() == data


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Content-Disposition: attachment; filename=a.pdf", "a.pdf"),
        ("Content-Type: application/pdf; name=a.pdf", "a.pdf"),
        ("Content-Disposition: attachment; filename*=utf-8''Gr%C3%BC%C3%9Fe.pdf", "Grüße.pdf"),
        ("Content-Disposition: attachment; filename*0=a; filename*1=b.pdf", "ab.pdf"),
        ("Content-Disposition: attachment; filename==?utf-8?Q?Gr=C3=BC=C3=9Fe.pdf?=", "Grüße.pdf"),
        ('Content-Disposition: attachment; filename="Grüße.pdf"', "Grüße.pdf"),
        ("Content-Disposition: attachment; filename*=undefined''%41", ""),
    ],
)
def test_names_of_files_are_read_in_every_spelling(header, name):
    assert [part.filename for part in parts_of(f"{header}\r\n\r\n".encode())] == [name]


# Pieces from which headers, bodies, HTML and calendars arise that are nearly right.
_PIECES = (
    b"Content-Type: ", b"multipart/mixed", b"; boundary=", b"b", b"\r\n", b"--b", b"--", b"text/html", b'"', b";", b"charset*=",
    b"'", b"%ff", b"=?utf-8?B?", b"?=", b"Content-Disposition: attachment; filename*0*=", b"undefined''%41", b"idna''\xff",
    b"\x00", b"\xed\xa0\x80", b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"=", b"charset=utf-7", b"+2AA-",
    b"utf-16", b"Content-ID: <a>", b"cid:a", b"<img src=", b"//[::1", b"//a@b:99999999/", b"url(", b"<!--", b"BEGIN:VEVENT",
    b"END:VEVENT", b"DTSTART;TZID=Europe:20261201T100000", b"DTEND;VALUE=DATE:20261201", b"DTSTART:20261201",
    b"DURATION:P99999999999999999D", b'ATTENDEE;CN="', b":mailto:a@b", b"DTSTART;TZID=../../etc:20261301T250000",
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(_PIECES) | st.binary(max_size=6), max_size=40).map(b"".join))
def test_no_bytes_make_it_raise(content):
    parts = list(parts_of(content))
    text = "".join(text_of(part) for part in parts) + content.decode("utf-8", "replace")
    html, _ = with_pictures(text, parts)
    html.encode()
    remote_hosts(text)
    list(read_invitations(text))
