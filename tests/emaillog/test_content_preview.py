"""What a mail says, on its page: tabs that work without JavaScript, headers, source, attachments to save."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from django.urls import reverse

from emaillog import content_preview
from emaillog.content_preview import Attachment, harmless_html
from emaillog.mime_parts import DEPTH_AT_MOST
from outbox.models import Message
from tests.support.emaillog import url
from tests.support.outbox import send
from tests.support.portal import configure, make_member, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def message(crm, qa) -> Message:
    configure(qa)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "crm@acme.example", "ana@example.com", "Grüße"
    mail["X-Own"] = "<script>alert(1)</script>"
    mail.set_content("PLAIN-CANARY")
    mail.add_alternative("<p>HTML-CANARY</p>", subtype="html")
    mail.add_attachment(b"\x00\x01bytes", maintype="application", subtype="pdf", filename="offer.pdf")
    mail.add_attachment("<script>alert(1)</script>", subtype="html", filename="../../evil\u202efdp.html")
    inner = EmailMessage()
    inner["Subject"] = "INNER-CANARY"
    mail.add_attachment(inner)
    return send(crm, qa, content=mail.as_bytes())


def attachment(message: Message, number: int) -> str:
    return reverse("email-log-attachment", args=[message.stage.key, message.pk, number])


@pytest.mark.parametrize(
    ("show", "shown", "says"),
    [
        ("", "html", "<iframe"),
        ("html", "html", "<iframe"),
        ("text", "text", "PLAIN-CANARY"),
        ("headers", "headers", "Grüße"),
        ("headers", "headers", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("source", "source", "multipart/mixed"),
        ("attachments", "attachments", "offer.pdf"),
        ("nonsense", "html", "<iframe"),
    ],
)
def test_each_tab_shows_its_part(as_administrator, message, show, shown, says):
    page = as_administrator.get(url(message), {"show": show})
    assert page.context["shown"] == shown
    assert says in page.content.decode()
    assert f'href="?show={shown}#what-it-says" aria-current="true"' in page.content.decode()


def test_a_mail_with_little_in_it_has_few_tabs(as_administrator, crm, qa):
    configure(qa)
    page = as_administrator.get(url(send(crm, qa, content=b"")))
    assert [tab.key for tab in page.context["tabs"]] == ["headers", "source"]
    assert "starts with its body" in page.content.decode()


def test_a_long_source_is_cut_on_the_page_and_whole_beside_it(as_administrator, crm, qa, monkeypatch):
    configure(qa)
    monkeypatch.setattr(content_preview, "SHOWN_AT_MOST", 50)
    monkeypatch.setattr("emaillog.content_tabs.SHOWN_AT_MOST", 50)
    message = send(crm, qa, content=b"Subject: x\r\n\r\n" + b"y" * 100 + b"END")
    page = as_administrator.get(url(message), {"show": "source"}).content.decode()
    assert "END" not in page
    assert "Open the whole source" in page
    assert b"END" in as_administrator.get(url(message, "source")).content


def test_of_a_large_mail_the_beginning_is_taken_apart(as_administrator, message, monkeypatch):
    monkeypatch.setattr(content_preview, "PARSED_AT_MOST", bytes(message.content.data).index(b"offer.pdf") + 15)
    page = as_administrator.get(url(message), {"show": "text"})
    assert [tab.key for tab in page.context["tabs"]] == ["html", "text", "headers", "source"]
    assert "PLAIN-CANARY" in page.content.decode()
    assert "of this email are read." in page.content.decode()
    assert as_administrator.get(attachment(message, 0)).status_code == 404


def test_many_parts_cost_a_page_no_more_than_few(as_administrator, crm, qa):
    configure(qa)
    parts = b"--b\r\nContent-Type: application/pdf\r\n\r\nx\r\n" * 40_000
    message = send(crm, qa, content=b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts)
    page = as_administrator.get(url(message)).content.decode()
    assert f"Only the first {content_preview.PARTS_AT_MOST} parts of this email are shown." in page
    assert page.count("<li>") < 2 * content_preview.PARTS_AT_MOST
    assert as_administrator.get(attachment(message, content_preview.PARTS_AT_MOST - 1)).content == b"x"
    assert as_administrator.get(attachment(message, content_preview.PARTS_AT_MOST)).status_code == 404


def test_the_page_says_where_texts_events_and_nesting_stopped(as_administrator, crm, qa, monkeypatch):
    configure(qa)
    monkeypatch.setattr(content_preview, "SHOWN_AT_MOST", 100)
    monkeypatch.setattr(content_preview, "INVITATIONS_AT_MOST", 1)
    calendar = "BEGIN:VEVENT\nSUMMARY:1\nEND:VEVENT\nBEGIN:VEVENT\nSUMMARY:2\nEND:VEVENT"
    nested = "".join(f"Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n" for level in range(DEPTH_AT_MOST + 1))
    parts = ("\n" + "x" * 60, "\n" + "x" * 60, f"Content-Type: text/calendar\n\n{calendar}", f"{nested}\nDEEP")
    content = "Content-Type: multipart/mixed; boundary=b\n\n" + "".join(f"--b\n{part}\n" for part in parts)
    page = as_administrator.get(url(send(crm, qa, content=content.encode())))
    assert page.context["content"].text == "x" * 60 + "\n" + "x" * 40
    assert page.context["content"].limits == [
        f"Parts that are nested deeper than {DEPTH_AT_MOST} levels are only listed as attachments.",
        "Only the first 100 characters of its text are shown.",
        "Only the first 1 events are shown.",
    ]


def test_what_cannot_be_taken_apart_is_shown_by_its_source(as_administrator, message, monkeypatch):
    monkeypatch.setattr(content_preview, "parts_of", lambda content: 1 / 0)
    page = as_administrator.get(url(message))
    assert [tab.key for tab in page.context["tabs"]] == ["headers", "source"]
    assert "Only its source can be shown." in page.content.decode()
    assert as_administrator.get(attachment(message, 0)).status_code == 404


def multipart(kind: str, *parts: str, boundary: str = "b") -> str:
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={boundary}\n\n{inner}--{boundary}--"


PLAIN = "Content-Type: text/plain\n\nText"
PDF = (
    'Content-Type: application/pdf\nContent-Disposition: inline; filename="a.pdf"\nContent-Transfer-Encoding: base64\n\nJVBERi0='
)
SIGNATURE = 'Content-Type: application/pkcs7-signature; name="smime.p7s"\n\nx'
CALENDAR = """Content-Type: text/calendar; charset=utf-8; method=REQUEST

BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VEVENT
DTSTART:20261201T100000Z
ORGANIZER;CN=Carla:mailto:carla.agent@acme.example
ATTENDEE;RSVP=TRUE:mailto:karl.kunde@customer.example
SUMMARY:Meet <b>us</b>
LOCATION:Room 5
END:VEVENT
END:VCALENDAR"""


@pytest.mark.parametrize(
    ("content", "tabs", "text", "html"),
    [
        (PDF, ["attachments"], "", ""),
        (
            multipart(
                "alternative",
                PLAIN,
                multipart("mixed", "Content-Type: text/html\n\nfirst", PDF, "Content-Type: text/html\n\nsecond", boundary="m"),
            ),
            ["html", "text", "attachments"],
            "Text",
            "first\nsecond",
        ),
        (multipart("signed", PLAIN, SIGNATURE), ["text", "attachments"], "Text", ""),
        (multipart("alternative", PLAIN, CALENDAR), ["text", "invitation", "attachments"], "Text", ""),
        (CALENDAR, ["invitation", "attachments"], "", ""),
        ("Content-Type: text/plain; charset=utf8mb4\n\nplain wörds", ["text"], "plain wörds", ""),
        (multipart("mixed", PLAIN, 'Content-Type: text/plain; name="n.txt"\n\nNote'), ["text", "attachments"], "Text\nNote", ""),
    ],
)
def test_every_part_is_shown(as_administrator, crm, qa, content, tabs, text, html):
    configure(qa)
    page = as_administrator.get(url(send(crm, qa, content=content.encode())))
    assert [tab.key for tab in page.context["tabs"]] == [*tabs, "headers", "source"]
    seen = page.context["content"]
    assert (seen.text, seen.html, len(seen.attachments)) == (text, html, int("attachments" in tabs))
    assert seen.limits == []


def test_an_invitation_is_shown_to_those_who_may_see_the_content(as_administrator, as_viewer, crm, qa):
    configure(qa)
    message = send(crm, qa, content=multipart("alternative", PLAIN, CALENDAR).encode())
    page = as_administrator.get(url(message), {"show": "invitation"}).content.decode()
    for detail in ("Meet &lt;b&gt;us&lt;/b&gt;", "Room 5", "Carla", "carla.agent@acme.example", "karl.kunde@customer.example"):
        assert detail in page
    assert 'datetime="2026-12-01T' in page
    hidden = as_viewer.get(url(message), {"show": "invitation"}).content.decode()
    assert "Room 5" not in hidden
    assert "karl.kunde@customer.example" not in hidden


def test_an_invitation_that_is_sent_as_a_file_as_well_is_shown_once(as_administrator, crm, qa):
    configure(qa)
    file = CALENDAR.replace("text/calendar", 'application/ics; name="invite.ics"')
    content = multipart("mixed", multipart("alternative", PLAIN, CALENDAR, boundary="a"), file)
    seen = as_administrator.get(url(send(crm, qa, content=content.encode()))).context["content"]
    assert [invitation.summary for invitation in seen.invitations] == ["Meet <b>us</b>"]
    assert [attachment.safe_name for attachment in seen.attachments] == ["attachment", "invite.ics"]


def test_the_page_names_the_hosts_that_were_not_asked(as_administrator, crm, qa):
    configure(qa)
    pictures = "".join(f"<img src='https://{number}.example/x.png'>" for number in range(12))
    html = f"<img src='https://pixel.example/1'><img src='https://pixel.example/2'>{pictures}"
    page = as_administrator.get(url(send(crm, qa, content=f"Content-Type: text/html\n\n{html}".encode())))
    text = " ".join(page.content.decode().split())
    assert "14 remote files were blocked: 2 from <bdi>pixel.example</bdi>, 1 from" in text
    assert "and 3 more hosts." in text


def test_pictures_of_the_email_are_shown_in_its_html(as_administrator, as_viewer, crm, qa):
    configure(qa)
    picture = "Content-Type: image/png\nContent-ID: <logo>\nContent-Transfer-Encoding: base64\n\niVBORw=="
    content = multipart("related", "Content-Type: text/html\n\n<img src='cid:logo'>", picture)
    message = send(crm, qa, content=content.encode())
    frame = as_administrator.get(url(message, "html"))
    assert frame.content == b"<img src='data:image/png;base64,iVBORw=='>"
    assert "img-src data:;" in frame["Content-Security-Policy"]
    assert as_viewer.get(url(message, "html")).status_code == 403


def test_attachments_are_saved_under_harmless_names_and_never_opened(as_administrator, message):
    pdf, evil, inner = (as_administrator.get(attachment(message, number)) for number in range(3))
    assert pdf.content == b"\x00\x01bytes"
    assert pdf["Content-Disposition"] == 'attachment; filename="offer.pdf"'
    assert evil["Content-Disposition"] == 'attachment; filename="_.._evil_fdp.html"'
    assert b"INNER-CANARY" in inner.content
    for part in (pdf, evil, inner):
        assert part["Content-Type"] == "application/octet-stream"
        assert part["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in part["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("offer.pdf", "offer.pdf"),
        ("Angebot für Ana.pdf", "Angebot für Ana.pdf"),
        ("", "attachment"),
        ("..", "attachment"),
        (".htaccess", "htaccess"),
        ("C:\\Windows\\evil.exe", "C_Windows_evil.exe"),
        ("/etc/passwd", "_etc_passwd"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("a\r\nSet-Cookie: x", "a_Set-Cookie_ x"),
        ("x" * 300 + ".pdf", "x" * 80 + ".pdf"),
        ("x.pdf ", "x.pdf"),
    ],
)
def test_names_of_attachments(given, safe):
    assert Attachment(given, "application/pdf", 1).safe_name == safe


def test_attachments_take_the_permission(as_viewer, as_developer, as_administrator, message, shop, qa):
    assert as_viewer.get(attachment(message, 0)).status_code == 403
    assert "offer.pdf" not in as_viewer.get(url(message), {"show": "attachments"}).content.decode()
    assert signed_in(make_member("Nobody Special")).get(attachment(message, 0)).status_code == 403
    assert as_developer.get(attachment(send(shop, qa), 0)).status_code == 404
    assert as_administrator.post(attachment(message, 0)).status_code == 405
    assert as_administrator.get(attachment(message, 3)).status_code == 404
    assert as_administrator.get(attachment(message, 10**30)).status_code == 404
    message.content.delete()
    assert as_administrator.get(attachment(message, 0)).status_code == 404


@pytest.mark.parametrize(
    "html",
    [
        "<link rel=preconnect href=//evil>",
        "<LINK\nHREF = x>",
        "<iframe srcdoc=x>",
        "<iFrame src=x>",
        "<object data=x>",
        "<embed src=x>",
    ],
)
def test_nothing_is_left_in_html_that_connects_before_it_asks(html):
    left = harmless_html(f"<p>x</p>{html}").lower()
    assert "<p>x</p><x-" in left
    assert " href" not in left
