"""A member without “Access user information” sees no address in the email log."""

from __future__ import annotations

import csv
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common.addresses import masked_address
from organization.admin_base import FirstPages
from organization.models import App, Member, Role, RoleGrant
from organization.permissions import Permission
from outbox.access.masking import Mask
from outbox.models import Attempt, Message
from tests.support.emaillog import log, named, subjects, url
from tests.support.outbox import deliver, in_state, send, set_list
from tests.support.portal import configure, make_member, signed_in

pytestmark = pytest.mark.django_db

PEOPLE = ("ana.silva@example.com", "boss@example.com", "tess@acme.example", "bounce.box@acme.example")
ALL = (Permission.ACCESS_ASSET_LOGS, Permission.ACCESS_USER_INFORMATION)
ACTS = [Permission.RESEND_MAIL, Permission.RESEND_TO_REAL_RECIPIENTS]


def reader(name: str, *permissions: Permission, app: App | None = None, member: Member | None = None) -> Member:
    role = Role.objects.create(name=name, permissions=[permission.value for permission in permissions])
    member = member or make_member(name)
    RoleGrant.objects.create(member=member, role=role, app=app)
    return member


@pytest.fixture
def masked_message(crm, qa) -> Message:
    """A mail whose every part repeats addresses: failed, its server's words about them, notes."""
    configure(qa)
    set_list(crm, qa, "tess@acme.example")
    content = b"From: Ana <ana.silva@example.com>\r\nTo: ana.silva@example.com\r\nSubject: Offer\r\n\r\nSecret\r\n"
    message = send(crm, qa, "ana.silva@example.com", "boss@example.com", content=content, sender="bounce.box@acme.example")
    words = "550 5.1.1 <Ana.Silva@EXAMPLE.com>: ana.silva unknown; ana.silva%40example.com, boss=example.com, tess has left"
    message.recipients.update(last_reply=words, status="failed", name="Tess Tester")
    Attempt.objects.create(message=message, address="tess@acme.example", outcome="failed", step="RCPT TO", code=550, reply=words)
    Message.objects.filter(pk=message.pk).update(status="failed", notes=["From ana.silva@example.com was replaced."])
    return Message.objects.get(pk=message.pk)


@pytest.mark.parametrize("of", ["log", "export"])
def test_masked_addresses_cost_the_same_queries_for_one_mail_and_for_twenty(crm, qa, masked_message, of):
    member = reader("watcher", Permission.ACCESS_ASSET_LOGS)
    client, address = signed_in(member), "/monitor/email-log/qa/" + ("" if of == "log" else "export/")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            shown = client.get(address)
            assert reveals(b"".join(shown).decode()) == []
        return len(captured)

    queries()
    few = queries()
    for _ in range(19):
        again = send(crm, qa, "ana.silva@example.com", "boss@example.com")
        again.recipients.update(last_reply="550 boss is unknown", status="failed")
        Message.objects.filter(pk=again.pk).update(status="failed")
    assert queries() == few


def reveals(text: str) -> list[str]:
    text = text.lower()
    return [person for person in PEOPLE if person.partition("@")[0] in text]


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("ana@example.com", "a•••@example.com"),
        ("a@example.com", "•••@example.com"),
        ("", ""),
        ('"a@b"@example.com', '"•••@example.com'),
        ("ana", "a•••"),
    ],
)
def test_a_masked_address_keeps_its_first_letter_and_its_domain(address, masked):
    assert masked_address(address) == masked


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("550 5.1.1 <ana.silva@example.com>: unknown", "550 5.1.1 <a•••@example.com>: unknown"),
        ("ANA.SILVA has no mailbox", "A••• has no mailbox"),
        ("no such user ana.silva%40example.com", "no such user a•••%40example.com"),
        ("rcpt to:stranger@elsewhere.example refused", "rcpt to:s•••@elsewhere.example refused"),
        ("550 550 is full", "550 550 is full"),
        ("“ana.silva@example.com” isn't one", "“a•••@example.com” isn't one"),
        ("", ""),
    ],
)
def test_words_are_kept_and_addresses_in_them_are_masked(crm, qa, said, shown):
    configure(qa)
    message = named(crm, qa, "x", "ana.silva@example.com", "550@example.com")
    assert Mask(message, open=False).text(said) == shown
    assert Mask(message, open=True).text(said) == said


def test_long_words_are_masked_quickly(crm, qa):
    configure(qa)
    message = named(crm, qa, "x")
    assert Mask(message, open=False).text("a" * 200_000 + "@" * 1000).endswith("•••@")


@pytest.mark.parametrize("page", ["", "cancel", "release-held", "resend", "release"])
def test_no_page_of_the_log_shows_an_address(masked_message, page):
    if page == "release-held":
        Message.objects.update(status="held", hold_reason="test_list_empty")
    if page == "cancel":
        Message.objects.update(**in_state("deferred"))
        masked_message.recipients.update(status="deferred")
    member = reader("Acts blindly", Permission.ACCESS_ASSET_LOGS, *ACTS)
    answer = signed_in(member).get(url(masked_message, page))
    assert answer.status_code == 200
    assert reveals(answer.content.decode()) == []
    assert "•••@" in answer.content.decode()
    assert b"Tess Tester" not in answer.content
    assert reveals(log(signed_in(member)).content.decode()) == []


def test_with_the_permission_all_is_shown(masked_message, as_administrator):
    assert reveals(as_administrator.get(url(masked_message)).content.decode()) == list(PEOPLE)
    assert "•••" not in as_administrator.get(url(masked_message)).content.decode()
    assert reveals(as_administrator.get(url(masked_message, "resend")).content.decode()) == ["tess@acme.example"]


def test_the_file_is_masked_too(masked_message, as_viewer, as_administrator):
    def text(client) -> str:
        return b"".join(client.get("/monitor/email-log/qa/export/").streaming_content).decode()

    assert reveals(text(as_viewer)) == []
    (header, row) = csv.reader(io.StringIO(text(as_viewer)[1:]))
    assert row[header.index("Requested by the app")] == "a•••@example.com; b•••@example.com"
    assert reveals(text(as_administrator)) == list(PEOPLE[:3])


@pytest.mark.parametrize("query", [{"q": "ana.silva"}, {"q": "ana.silva@example.com"}, {"q": "tess"}, {"q": "bounce"}])
def test_addresses_cant_be_guessed_by_searching(masked_message, as_viewer, as_administrator, query):
    assert subjects(log(as_viewer, **query)) == []
    assert subjects(log(as_viewer, q="offer")) == ["Offer"]
    assert subjects(log(as_viewer, q=masked_message.message_id)) == ["Offer"]
    assert len(subjects(log(as_administrator, **{"q": "ana.silva"}))) == 1


def test_nor_by_the_filter_for_recipients(masked_message, as_viewer):
    for address in ("ana.silva@example.com", "nobody@example.com"):
        page = log(as_viewer, recipient=address)
        assert subjects(page) == ["Offer"]
        assert "That filter was left out" in page.content.decode()
    assert 'name="recipient"' not in log(as_viewer).content.decode()
    for address in ("ana.silva@example.com", "nobody@example.com"):
        assert "1 new email<" in as_viewer.get("/monitor/email-log/qa/new/", {"above": 0, "recipient": address}).content.decode()


def test_the_permission_for_one_app_opens_that_app_alone(masked_message, crm, shop, qa):
    named(shop, qa, "Parcel", "ana.silva@example.com")
    member = reader("Reads all", Permission.ACCESS_ASSET_LOGS)
    reader("Sees people of the shop", Permission.ACCESS_USER_INFORMATION, app=shop, member=member)
    client = signed_in(Member.objects.get(pk=member.pk))
    assert subjects(log(client)) == ["Parcel", "Offer"]
    assert log(client).content.decode().count("ana.silva@example.com") == 1
    for query in ({"recipient": "ana.silva"}, {"q": "ana.silva"}):
        assert subjects(log(client, **query)) == ["Parcel"]
    assert "Recipients were searched only in the emails of apps" in log(client, recipient="ana").content.decode()
    assert reveals(client.get(url(masked_message)).content.decode()) == []


@pytest.mark.django_db(transaction=True)
def test_what_a_real_server_says_is_masked(crm, qa, smtp_server, viewer):
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = lambda address: f"550 5.1.1 {address}: no such user"
    message = send(crm, qa, "ana.silva@example.com")
    deliver()
    text = signed_in(viewer).get(url(message)).content.decode()
    assert "550 5.1.1" in text
    assert reveals(text) == []


def test_why_a_resend_is_refused_is_masked_too(masked_message, monkeypatch):
    from django.core.exceptions import ValidationError

    from outbox import actions

    def refuse(*_, **__):
        raise ValidationError("“ana.silva@example.com” has no valid domain.")

    monkeypatch.setattr(actions, "resend", refuse)
    member = reader("Acts blindly", Permission.ACCESS_ASSET_LOGS, *ACTS)
    page = signed_in(member).post(url(masked_message, "resend"), {"known_resend": "0"}, follow=True).content.decode()
    assert "has no valid domain" in page
    assert reveals(page) == []


def test_mail_in_django_admin_takes_both_permissions(masked_message, crm):
    staff = reader("Staff", Permission.ACCESS_ASSET_LOGS)
    staff.is_staff = True
    staff.save()
    assert signed_in(staff).get("/admin/outbox/recipient/").status_code == 403
    reader("People", Permission.ACCESS_USER_INFORMATION, member=staff)
    assert signed_in(Member.objects.get(pk=staff.pk)).get("/admin/outbox/recipient/").status_code == 200


def test_mail_in_django_admin_is_counted_no_further_than_its_first_pages(crm, qa, administrator, monkeypatch):
    monkeypatch.setattr(FirstPages, "ROWS", 2)
    for _ in range(3):
        send(crm, qa)
    assert signed_in(administrator).get("/admin/outbox/message/").context["cl"].result_count == 2


@pytest.mark.django_db(transaction=True)
def test_what_a_servers_trouble_says_of_a_recipient_is_masked_in_banner_and_log(crm, qa, smtp_server, as_viewer, caplog):
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = lambda _: "450 4.7.1 ana.silva: too many messages to <ana.silva@example.com>"
    send(crm, qa, "ana.silva@example.com")
    deliver()
    page = "/management/configure/emails/qa/"
    nobody_in_particular = signed_in(make_member("Mia"))
    may_see_mail_of_one_app = signed_in(reader("One", *ALL, app=crm))
    for client in (as_viewer, nobody_in_particular, may_see_mail_of_one_app):
        text = client.get(page).content.decode()
        assert "too many messages to &lt;a•••@example.com&gt;" in text
        assert "ana.silva" not in text
    assert "ana.silva: too many messages" in signed_in(reader("All", *ALL)).get(page).content.decode()
    assert "stage_in_trouble" in caplog.text
    assert "ana.silva" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_log_masks_the_last_words_of_a_server_that_hangs_up(crm, qa, smtp_server, caplog):
    caplog.set_level("INFO")
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = lambda _: "421 4.3.0 ana.silva is why I close"
    send(crm, qa, "ana.silva@example.com")
    deliver()
    assert "is why I close" in caplog.text
    assert "ana.silva" not in caplog.text
