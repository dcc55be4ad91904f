"""Refused emails leave a trace: on the app's page, for those who may read its log, and in the log."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organization.credentials import NewCredential, create_credential
from organization.installation import installation_id
from organization.models import Credential
from outbox import refusals
from outbox.access.masking import for_log
from outbox.exceptions import SubmissionRefused
from outbox.headers.received import Hop
from outbox.models import Message, Refusal, Source
from outbox.refusals import KEPT_OF_EACH, RefusalRecorder, record, refusal
from outbox.retention import prune
from outbox.submission import Envelope, submit
from tests.support.gateway_client import Client, gateway_thread
from tests.support.portal import OPERATOR, eventually, make_member, signed_in

PAGE = "/apps/crm/configuration/emails/qa/"


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


def refused(new: NewCredential, number: int) -> Refusal:
    address = f"no.body-{number}@example"
    return refusal(new.credential, Source.GATEWAY, "RCPT", address, f"553 5.1.3 “{address}” isn't an address.")


@pytest.mark.django_db
def test_the_newest_of_each_credential_are_kept(credential, crm, qa):
    other = create_credential(crm, qa, OPERATOR)
    record([refused(other, 1)])
    for start in (0, 15, 30):
        record([refused(credential, number) for number in range(start, start + 15)])
    kept = Refusal.objects.filter(credential=credential.credential).values_list("address", flat=True)
    assert list(kept) == [f"no.body-{number}@example" for number in range(44, 44 - KEPT_OF_EACH, -1)]
    assert Refusal.objects.filter(credential=other.credential).count() == 1


@pytest.mark.django_db
def test_what_no_database_takes_is_kept_readable(credential):
    record([refusal(credential.credential, Source.GATEWAY, "RCPT", "a\x00\udc80" + "b" * 300, "553 " + "x" * 900)])
    (kept,) = Refusal.objects.all()
    assert kept.address.startswith("a\\u0000\\udc80bbb")


@pytest.mark.django_db(transaction=True)
def test_a_flood_of_them_is_written_once_a_second_and_not_grown(credential, monkeypatch):
    monkeypatch.setattr(refusals, "WRITE_EVERY_SECONDS", 60.0)
    written: list[int] = []
    monkeypatch.setattr(refusals, "record", lambda these: written.append(len(these)))
    recorder = RefusalRecorder()
    recorder.note(refused(credential, 0))
    eventually(lambda: written)
    for number in range(5000):
        recorder.note(refused(credential, number))
    recorder.close(60)
    assert written == [1, KEPT_OF_EACH]


@pytest.mark.django_db(transaction=True)
def test_the_gateway_leaves_a_trace_at_every_step(credential, settings, caplog):
    settings.MESSAGE_MAX_BYTES = 100
    caplog.set_level("INFO", "gateway.server")
    with gateway_thread() as port, Client(port) as client:
        client.sign_in(credential)
        assert client.say("MAIL FROM:<crm@acme.example> SIZE=101").startswith("552")
        assert client.say("MAIL FROM:<no\u200bbody@acme.example>").startswith("553")
        assert client.say("RSET").startswith("250")
        assert client.say("MAIL FROM:<crm@acme.example>").startswith("250")
        assert client.say("RCPT TO:<ana@-.example>").startswith("553")
        assert client.say("RCPT TO:<bob@customer.example>").startswith("250")
        assert client.say("DATA").startswith("354")
        client.socket.sendall(b"x" * 200 + b"\r\n.\r\n")
        assert client.hear().startswith("552")
    kept = [(refusal.credential, refusal.step, refusal.address, refusal.reply[:9]) for refusal in Refusal.objects.order_by("pk")]
    assert kept == [
        (credential.credential, "MAIL", "crm@acme.example", "552 5.3.4"),
        (credential.credential, "MAIL", r"no\u200bbody@acme.example", "553 5.1.7"),
        (credential.credential, "RCPT", "ana@-.example", "553 5.1.3"),
        (credential.credential, "DATA", "bob@customer.example", "552 5.3.4"),
    ]
    assert not Message.objects.exists()
    assert caplog.text.count("email_refused") == 4
    text = ("client=127.0.0.1", credential.credential.username, "app=crm", "step=DATA", "b•••@customer.example")
    assert [part for part in text if part not in caplog.text] == []
    assert "bob@" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_every_other_entry_point_leaves_one_with_its_credential(credential, crm, qa, monkeypatch):
    def refuse(recipients: list[str], **who: Credential) -> None:
        with pytest.raises(SubmissionRefused):
            submit(crm, qa, Envelope("crm@acme.example", recipients), b"Subject: x\r\n\r\nHi\r\n", via=Source.BACKEND, **who)

    refuse(["ana@-.example", "ben@-.example"], credential=credential.credential)
    refuse([], credential=credential.credential)
    refuse(["ana@-.example"])
    kept = [(refusal.via, refusal.step, refusal.address, refusal.reply[:9]) for refusal in Refusal.objects.order_by("pk")]
    of_ana = ("backend", "submit", "ana@-.example", "553 5.1.3")
    assert kept == [of_ana, ("backend", "submit", "", "554 5.5.1"), of_ana]
    assert not Message.objects.exists()
    monkeypatch.setattr(Refusal.objects, "bulk_create", fail)
    refuse(["ana@-.example"], credential=credential.credential)


@pytest.mark.django_db
def test_a_loop_that_django_or_a_command_hands_in_is_shown_on_the_apps_page(crm, qa, shop, administrator):
    hop = Hop("crm", "qa", "backend", installation_id(), "portal.example", 7, timezone.now())
    content = hop.received_line() + b"Subject: again\r\n\r\nHi\r\n"
    for via in (Source.BACKEND, Source.COMMAND):
        for _ in range(KEPT_OF_EACH):
            with pytest.raises(SubmissionRefused, match="Mail loop"):
                submit(crm, qa, Envelope("crm@acme.example", ["ana@example.com"]), content, via=via)
    assert set(Refusal.objects.values_list("via", "credential")) == {("command", None)}  # the newest
    assert Refusal.objects.count() == KEPT_OF_EACH
    page = signed_in(administrator).get(PAGE).content.decode()
    assert "Command line" in page
    assert "554 5.4.6" in page
    assert "No email of Web Shop was refused" in signed_in(administrator).get(PAGE.replace("crm", "shop")).content.decode()


def fail(*args: object) -> None:
    raise OperationalError("database is locked")


@pytest.mark.django_db
def test_the_apps_page_shows_them_to_those_who_may_read_its_log(credential, administrator, viewer, developer, shop):
    record([refused(credential, 7)])
    page = signed_in(administrator).get(PAGE).content.decode()
    assert "no.body-7@example" in page
    assert "RCPT" in page
    masked = signed_in(viewer).get(PAGE).content.decode()
    assert "n•••@example" in masked
    assert "no.body-7" not in masked
    elsewhere = signed_in(administrator).get("/apps/shop/configuration/emails/qa/").content.decode()
    assert "No email of Web Shop was refused lately" in elsewhere


@pytest.mark.django_db
@pytest.mark.parametrize("typed", ["ana.silva", "ana silva@example.com", "ana.silva@"])
def test_what_was_refused_as_an_address_is_masked_too(credential, viewer, typed):
    reply = f"553 5.1.3 “{typed}” isn't an email address."
    record([refusal(credential.credential, Source.GATEWAY, "RCPT", typed, reply)])
    page = signed_in(viewer).get(PAGE).content.decode()
    assert "isn&#x27;t an email address" in page
    assert "silva" not in page
    assert "silva" not in for_log(typed, [typed]) + for_log(reply, [typed])


@pytest.mark.django_db
def test_who_may_not_read_the_log_sees_none(credential):
    record([refused(credential, 1)])
    assert "Refused emails" not in signed_in(make_member("Nora Nobody")).get(PAGE).content.decode()


@pytest.mark.django_db
def test_many_cost_the_page_no_more_queries_than_one(credential, as_administrator):
    as_administrator.get(PAGE)
    counts = []
    for count in (1, 15):
        record([refused(credential, number) for number in range(count)])
        with CaptureQueriesContext(connection) as queries:
            as_administrator.get(PAGE)
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.django_db
def test_they_go_when_the_log_goes(credential, settings):
    record([refused(credential, 1), refused(credential, 2)])
    Refusal.objects.filter(address__contains="-1@").update(at=timezone.now() - timedelta(days=settings.LOG_RETENTION_DAYS + 1))
    prune()
    assert [refusal.address for refusal in Refusal.objects.all()] == ["no.body-2@example"]
