"""The email log in the browser: who may see what, filters, paging, and hostile content."""

from __future__ import annotations

import re

import pytest

from organization.models import Role, RoleGrant
from organization.permissions import Permission
from outbox.actions import cancel
from outbox.models import Content, Message
from testlists.services import test_list_of as list_of
from tests.support.emaillog import log, named, subjects, url
from tests.support.outbox import deliver, send, set_list
from tests.support.portal import OPERATOR, configure, make_member, signed_in
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _configured(qa):
    configure(qa)


def test_one_log_shows_all_stages_and_filters_by_stage(as_administrator, crm, qa, production):
    for stage, subject in ((qa, "one"), (production, "two"), (qa, "three")):
        named(crm, stage, subject)
    assert subjects(as_administrator.get("/monitor/email-log/")) == ["three", "two", "one"]
    assert subjects(as_administrator.get("/monitor/email-log/", {"stage": "production"})) == ["two"]
    assert subjects(as_administrator.get("/monitor/email-log/qa/", {"stage": "qa"})) == ["three", "one"]


def test_the_newest_email_is_first(as_administrator, crm, qa, production):
    for subject in ("one", "two"):
        named(crm, qa, subject)
    named(crm, production, "elsewhere")
    assert subjects(log(as_administrator)) == ["two", "one"]


def test_a_caught_mail_does_not_look_as_if_its_recipient_got_it(as_administrator, crm, qa):
    set_list(crm, qa, "tester@acme.example")
    named(crm, qa, "caught")
    assert "the test list instead" in log(as_administrator).content.decode()
    set_list(crm, qa, "tester@acme.example", active=False)
    Message.objects.all().delete()
    named(crm, qa, "not caught")
    assert "the test list instead" not in log(as_administrator).content.decode()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "invoice"}, ["Invoice 7"]),
        ({"q": "INVOICE 7"}, ["Invoice 7"]),
        ({"q": "boss@example.com"}, ["Welcome"]),
        ({"q": "100%"}, ["100% off"]),
        ({"q": "nothing like it"}, []),
        ({"status": "failed"}, ["Invoice 7"]),
        ({"app": "crm", "route": "recipients"}, ["100% off", "Welcome", "Invoice 7"]),
        ({"app": "shop"}, []),
        ({"range": "1h"}, ["100% off", "Welcome", "Invoice 7"]),
    ],
)
def test_search_and_filters(as_administrator, crm, shop, qa, query, expected):
    named(crm, qa, "Invoice 7", status="failed")
    named(crm, qa, "Welcome", "boss@example.com")
    named(crm, qa, "100% off")
    assert subjects(log(as_administrator, **query)) == expected


def test_pages_by_key_lead_there_and_back(as_administrator, crm, qa):
    for number in range(120):
        named(crm, qa, f"mail {number}")
    first = log(as_administrator, status="queued")
    assert subjects(first) == [f"mail {number}" for number in range(119, 69, -1)]
    assert not first.context["newer_url"]
    second = as_administrator.get("/monitor/email-log/qa/" + first.context["older_url"])
    assert subjects(second)[0] == "mail 69"
    third = as_administrator.get("/monitor/email-log/qa/" + second.context["older_url"])
    assert subjects(third)[-1] == "mail 0"
    assert not third.context["older_url"]
    back = as_administrator.get("/monitor/email-log/qa/" + third.context["newer_url"])
    assert subjects(back) == subjects(second)
    assert "status=queued" in third.context["newer_url"]


@pytest.mark.parametrize("query", [{"before": "x"}, {"before": "-1"}, {"after": "9" * 30}, {"before": "٣"}, {"q": "\x00"}])
def test_a_made_up_address_is_no_error(as_administrator, crm, qa, query):
    named(crm, qa, "one")
    assert log(as_administrator, **query).status_code == 200


def test_the_log_costs_the_same_queries_for_one_mail_and_for_fifty(as_administrator, crm, qa, django_assert_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    named(crm, qa, "one")
    log(as_administrator)
    with CaptureQueriesContext(connection) as few:
        log(as_administrator)
    for number in range(49):
        named(crm, qa, f"mail {number}", "a@example.com", "b@example.com")
    with django_assert_num_queries(len(few)):
        answer = log(as_administrator)
    assert len(subjects(answer)) == 50


def test_nobody_reads_the_log_without_the_permission(qa, crm):
    message = named(crm, qa, "one")
    nobody = signed_in(make_member("Nobody Special"))
    for address in ("/monitor/email-log/qa/", url(message), url(message, "html"), url(message, "source")):
        assert nobody.get(address).status_code == 403


def test_a_developer_sees_the_mail_of_their_apps_alone(as_developer, crm, shop, qa):
    own, other = named(crm, qa, "own"), named(shop, qa, "other")
    assert subjects(log(as_developer)) == ["own"]
    assert as_developer.get(url(own)).status_code == 200
    assert as_developer.get(url(other)).status_code == 404
    assert as_developer.get(url(other, "source")).status_code == 404


def test_what_a_mail_says_needs_its_own_permission(as_viewer, as_administrator, crm, qa):
    message = named(crm, qa, "one")
    Content.objects.filter(message=message).update(data=b"Subject: x\r\n\r\nCANARY-IN-THE-BODY")
    answer = as_viewer.get(url(message))
    assert answer.status_code == 200
    assert b"CANARY" not in answer.content
    assert as_viewer.get(url(message, "html")).status_code == 403
    assert as_viewer.get(url(message, "source")).status_code == 403
    assert b"CANARY" in as_administrator.get(url(message)).content


def test_a_role_for_another_stage_does_not_open_this_log(qa, production, crm):
    role = Role.objects.create(name="Production logs", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    role.stages.add(production)
    member = make_member("Pia Production")
    RoleGrant.objects.create(member=member, role=role)
    assert signed_in(member).get("/monitor/email-log/qa/").status_code == 403
    assert signed_in(member).get("/monitor/email-log/production/").status_code == 200


@pytest.mark.parametrize("page", ["", "html", "source"])
def test_missing_mail_wrong_stage_and_wrong_method(as_administrator, crm, qa, production, page):
    message = named(crm, qa, "one")
    address = url(message, page)
    assert as_administrator.post(address).status_code == 405
    assert as_administrator.get(address.replace("/qa/", "/production/")).status_code == 404
    assert as_administrator.get(address.replace(str(message.pk), "999999")).status_code == 404
    assert as_administrator.get(address.replace("/qa/", "/nowhere/")).status_code == 404


def test_the_detail_shows_what_was_asked_for_where_it_went_and_why(as_administrator, crm, qa):
    set_list(crm, qa, "ana@acme.example")
    content = b"From: a@acme.example\r\nTo: to@example.com\r\nCc: cc@example.com\r\nSubject: x\r\n\r\n"
    message = send(crm, qa, "to@example.com", "cc@example.com", "secret@example.com", content=content)
    page = as_administrator.get(url(message))
    assert [(row.address, row.header) for row in page.context["requested"]] == [
        ("to@example.com", "To"),
        ("cc@example.com", "Cc"),
        ("secret@example.com", "Bcc"),
    ]
    text = page.content.decode()
    assert "ana@acme.example" in text
    assert "was Active" in text


def outcomes_of_requested(client, message) -> dict[str, str]:
    return {requested.address: requested.outcome for requested in client.get(url(message)).context["requested"]}


@pytest.mark.django_db(transaction=True)
def test_each_requested_recipient_shows_its_own_outcome(as_administrator, crm, qa):
    with SmtpServer(rcpt=lambda address: {"d": "451 later", "f": "550 no"}.get(address[0])) as server:
        configure(qa, server)
        message = send(crm, qa, "s@x.example", "d@x.example", "f@x.example", f"{'long' * 17}@x.example")
        waiting = outcomes_of_requested(as_administrator, message)
        deliver()
    assert set(waiting.values()) == {"Waiting to be sent to this recipient.", "This recipient did not get the email."}
    assert outcomes_of_requested(as_administrator, message) == {
        "s@x.example": "The server accepted the email for this recipient.",
        "d@x.example": "Not sent yet. It will be tried again.",
        "f@x.example": "This recipient did not get the email.",
        f"{'long' * 17}@x.example": "This recipient did not get the email.",
    }
    page = as_administrator.get(url(message)).content.decode()
    assert "at most 64 bytes" in page
    assert "550 no" in page


def test_recipients_of_test_mail_and_of_held_mail_are_told_so(as_administrator, crm, qa, production):
    unconfigured = send(crm, production, "c@x.example")
    set_list(crm, qa, "ana@acme.example")
    test_mail = send(crm, qa, "c@x.example", "ana@acme.example")
    list_of(crm, qa).addresses.all().delete()
    empty = send(crm, qa, "c@x.example")
    list_of(crm, qa).delete()
    missing = send(crm, qa, "c@x.example")
    assert outcomes_of_requested(as_administrator, unconfigured) == {
        "c@x.example": "Held: the email was not sent to this recipient yet."
    }
    assert outcomes_of_requested(as_administrator, test_mail) == {
        "c@x.example": "This recipient does not get the email. The test list takes its place.",
        "ana@acme.example": "Waiting to be sent to this recipient.",
    }
    for held, words in ((empty, "is empty, so the email is held"), (missing, "is missing, so the email is held")):
        assert outcomes_of_requested(as_administrator, held) == {
            "c@x.example": "Held: the email was not sent to any recipient yet."
        }
        assert words in as_administrator.get(url(held)).content.decode()
    cancel(missing, OPERATOR)
    assert outcomes_of_requested(as_administrator, missing) == {"c@x.example": "This recipient did not get the email."}


@pytest.mark.django_db(transaction=True)
def test_the_detail_shows_the_servers_words(as_administrator, crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = lambda _: "550 5.1.1 <b>no such user</b>"
    message = send(crm, qa)
    deliver()
    text = as_administrator.get(url(message)).content.decode()
    assert "550 5.1.1 &lt;b&gt;no such user&lt;/b&gt;" in text
    assert "Rejected" in text


EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</iframe><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<form action=http://evil.example><input name=password></form>",
    "<base href=http://evil.example>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_html_stays_in_a_frame_that_can_do_nothing(as_administrator, crm, qa, evil):
    content = f"Subject: {evil}\r\nFrom: {evil} <x@acme.example>\r\nContent-Type: text/html\r\n\r\n{evil}".encode()
    message = send(crm, qa, content=content)
    for address in (url(message), "/monitor/email-log/qa/"):
        page = as_administrator.get(address)
        assert evil.encode() not in page.content or evil.startswith("javascript:")
        assert "script-src 'self'" in page["Content-Security-Policy"]
    frame = as_administrator.get(url(message, "html"))
    policy = frame["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert frame["X-Frame-Options"] == "SAMEORIGIN"
    assert b"sandbox" in as_administrator.get(url(message)).content


def test_the_source_is_plain_text(as_administrator, crm, qa):
    message = send(crm, qa, content=b"Content-Type: text/html\r\n\r\n<script>alert(1)</script>")
    page = as_administrator.get(url(message, "source"))
    assert page["Content-Type"] == "text/plain; charset=utf-8"
    assert page["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff" * 100,
        b"Content-Type: text/html; charset=no-such\r\n\r\n<p>x",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 300,
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!!not base64",
        b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename*=utf-8''%FF%FE\r\n\r\nx",
        b"From: " + b"<" * 5000 + b"\r\nTo: " + b"(" * 5000 + b"\r\n\r\n",
    ],
)
def test_no_content_breaks_the_page(as_administrator, crm, qa, content):
    message = send(crm, qa, content=content)
    for page in ("", "html", "source"):
        assert as_administrator.get(url(message, page)).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("where", "reply", "says"),
    [
        ("data", "554 Message rejected: Email address is not verified.", "Amazon SES is in its sandbox"),
        ("rcpt", "450 4.7.1 Greylisted, try again later", "greylisting"),
        ("mail", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "may not send as this sender"),
    ],
)
def test_the_detail_says_what_the_servers_words_mean(as_administrator, crm, qa, smtp_server, where, reply, says):
    configure(qa, smtp_server, from_domains="*")
    setattr(smtp_server, where, lambda _: reply)
    message = send(crm, qa)
    deliver()
    assert says in as_administrator.get(url(message)).content.decode()


def test_a_stage_in_trouble_says_so_on_its_log(as_administrator, qa):
    from delivery.backoff import record_failure
    from emailconfig.connection import ConnectionFailure

    record_failure(qa.pk, ConnectionFailure("AUTH", "auth_refused", "535 5.7.8 no"))
    assert "535 5.7.8 no" in log(as_administrator).content.decode()


@pytest.mark.parametrize(
    ("status", "says"),
    [("queued", "Waiting to be sent"), ("sending", "Being sent"), ("deferred", "Next try"), ("sent", ""), ("failed", "")],
)
def test_the_page_of_a_mail_that_is_on_its_way_says_so_and_can_be_refreshed(as_administrator, crm, qa, status, says):
    message = named(crm, qa, "Invoice", status=status)
    page = as_administrator.get(url(message)).content.decode()
    assert f"<title>{status.title()}: Invoice" in page
    assert says in page
    assert (f'href="{url(message)}">Refresh</a>' in page) == bool(says)
    resend = re.search(r'class="([^"]+)" href="[^"]+">Resend</a>', page)
    main = {"sent": False, "failed": True}.get(status)
    assert (resend and "button--primary" in resend[1]) == main


@pytest.mark.django_db(transaction=True)
def test_the_page_says_for_the_help_desk_what_became_of_each_recipient(as_administrator, crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = {"no@x.example": "550 5.1.1 no such user", "late@x.example": "451 4.7.1 Greylisted"}.get
    message = send(crm, qa, "yes@x.example", "no@x.example", "late@x.example")
    deliver()
    page = as_administrator.get(url(message))
    sentences = {outcome.recipient.address: outcome.sentence for outcome in page.context["outcomes"]}
    accepted = sentences["yes@x.example"]
    assert accepted.startswith(f"Accepted by 127.0.0.1:{smtp_server.port} on ")
    assert " for yes@x.example with these words: 250" in accepted
    assert "wasn't delivered to no@x.example" in sentences["no@x.example"]
    assert "The server doesn't know this mailbox. 550 5.1.1 no such user" in sentences["no@x.example"]
    assert "isn't delivered yet to late@x.example" in sentences["late@x.example"]
    assert f"http://testserver/monitor/emails/{message.pk}/" in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_page_shows_each_answer_of_the_server_once(as_administrator, crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*")
    smtp_server.rcpt = lambda _: "550 5.1.1 no such user"
    message = send(crm, qa, *(f"c{number}@x.example" for number in range(12)))
    deliver()
    page = as_administrator.get(url(message))
    (reply,) = page.context["replies"]
    assert (reply.tries, len(reply.shown), reply.more) == (12, 10, 2)
    assert "All 12 attempts" in page.content.decode()
