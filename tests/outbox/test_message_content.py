"""What a mail says, on its page: tabs that work without JavaScript, headers, source, attachments to save."""

from __future__ import annotations

from email.message import EmailMessage

import pytest
from django.urls import reverse

from outbox import preview
from outbox.models import Message
from outbox.preview import Attachment, harmless_html
from tests.conftest import configure, make_member, signed_in
from tests.outbox.conftest import send
from tests.outbox.test_log import url

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
    monkeypatch.setattr("outbox.message_views.SHOWN_AT_MOST", 50)
    monkeypatch.setattr(preview, "SHOWN_AT_MOST", 50)
    message = send(crm, qa, content=b"Subject: x\r\n\r\n" + b"y" * 100 + b"END")
    page = as_administrator.get(url(message), {"show": "source"}).content.decode()
    assert "END" not in page
    assert "Open the whole source" in page
    assert b"END" in as_administrator.get(url(message, "source")).content


def test_a_large_mail_is_shown_by_its_source(as_administrator, message, monkeypatch):
    monkeypatch.setattr(preview, "PARSED_AT_MOST", 10)
    assert [tab.key for tab in as_administrator.get(url(message)).context["tabs"]] == ["headers", "source"]
    assert as_administrator.get(attachment(message, 0)).status_code == 404


def test_attachments_are_saved_under_harmless_names_and_never_opened(as_administrator, message):
    pdf, evil, inner = (as_administrator.get(attachment(message, number)) for number in range(3))
    assert pdf.content == b"\x00\x01bytes"
    assert pdf["Content-Disposition"] == 'attachment; filename="offer.pdf"'
    assert evil["Content-Disposition"] == 'attachment; filename="_.._evil_fdp.html"'
    assert b"INNER-CANARY" in inner.content
    for one in (pdf, evil, inner):
        assert one["Content-Type"] == "application/octet-stream"
        assert one["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in one["Content-Security-Policy"]


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
