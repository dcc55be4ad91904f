"""What an HTML body refers to: which hosts are named to the reader, and which pictures come with the email."""

from __future__ import annotations

import pytest

from emaillog import html_body
from emaillog.html_body import remote_hosts, with_pictures
from emaillog.mime_parts import parts_of

LOGO = b"Content-Type: image/png\r\nContent-ID: <logo@acme>\r\n\r\n\x89PNG"


@pytest.mark.parametrize(
    ("html", "hosts"),
    [
        ("<img src='https://a.example/1.png'><IMG SRC=HTTP://A.example/2.png>", [("a.example", 2)]),
        ("<img src=https://a.example/1.png><img src=https://a.example/1.png>", [("a.example", 1)]),
        ("<img src=//a.example:8080/x><img src='https://u@b.example'>", [("a.example", 1), ("b.example", 1)]),
        ("<img srcset='https://a.example/1.png 1x, https://a.example/2.png 2x'>", [("a.example", 2)]),
        ("<img alt='5 > 4' src=https&#58;//a.example/x>", [("a.example", 1)]),
        ("<img src='https:\\\\a.example\\x'>", [("a.example", 1)]),
        (
            "<link rel=stylesheet href=https://a.example/s.css><table background='//b.example/x'>",
            [("a.example", 1), ("b.example", 1)],
        ),
        ("<style>@import 'https://a.example/s.css';@font-face{src:url(https://a.example/f.woff)}</style>", [("a.example", 2)]),
        ('<p style="background:url(&quot;https://a.example/x&quot;)">', [("a.example", 1)]),
        ("<svg><image xlink:href=https://a.example/x /></svg>", [("a.example", 1)]),
        ("<a href=https://a.example/>https://b.example/x.png</a>", []),
        ("<!--[if mso]><img src=https://a.example/x><![endif]--><img src='cid:logo'><img src='data:image/png;base64,//8='>", []),
        ("<img src=https://[::1 ><img src=/local.png><img src=>", []),
        ("<img src='https://a\u202eb.example/'>", [("a\\u202eb.example", 1)]),
    ],
)
def test_the_hosts_that_would_have_been_asked_are_named(html, hosts):
    assert sorted(remote_hosts(html)) == hosts


@pytest.mark.parametrize(
    "html",
    [
        "<img src='cid:logo@acme'>",
        '<IMG SRC = "CID:logo@acme">',
        "<img src=cid:logo%40acme>",
        '<p style="background:url(cid:logo@acme)">',
        '<p style="background:url(&quot;cid:logo@acme&quot;)">',
    ],
)
def test_pictures_that_come_with_the_email_are_put_in_place(html):
    shown, complete = with_pictures(html, parts_of(LOGO))
    assert "data:image/png;base64,iVBORw==" in shown
    assert "cid:" not in shown.lower()
    assert complete


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", 'image/png"onload', "application/octet-stream"])
def test_only_pictures_are_put_in_place(kind):
    part = LOGO.replace(b"image/png", kind.encode())
    assert with_pictures("<img src=cid:logo@acme>", parts_of(part)) == ("<img src=cid:logo@acme>", True)


def test_other_references_stay_as_they_are():
    html = "<img src=cid:other> Write cid:logo@acme <a x-href=cid:logo@acme>"
    assert with_pictures(html, parts_of(LOGO)) == (html, True)


def test_one_picture_a_thousand_times_has_a_limit(monkeypatch):
    monkeypatch.setattr(html_body, "PICTURES_AT_MOST", 100)
    shown, complete = with_pictures("<img src=cid:logo@acme>" * 1000, parts_of(LOGO))
    assert shown.count("data:") == 3
    assert not complete
