"""A stage whose server gives trouble: paused once, said on all its pages, resumed by a person."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery.models import StageBackoff
from emailconfig.models import SmtpSettings
from organization.models import App, AuditEvent, Stage
from outbox.models import Message, Source, Status
from tests.support.certificates import Authority
from tests.support.emailconfig import manager_of
from tests.support.outbox import deliver, now_due, send
from tests.support.pages import message_text, words
from tests.support.portal import configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

BASE = "/management/configure/emails/qa/"
RESUME, TEST_MAIL = f"{BASE}resume/", f"{BASE}test-mail/"
REFUSAL = "535 5.7.8 Those credentials don't fit, says smtp.test"


def alarms(caplog: pytest.LogCaptureFixture) -> int:
    return sum("stage_in_trouble" in record.getMessage() for record in caplog.records)


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """One that lets only the right password in."""
    with SmtpServer(users={"portal": "right"}, refusal=lambda *_: REFUSAL) as server:
        yield server


@pytest.fixture
def refused(qa: Stage, smtp_server: SmtpServer) -> SmtpSettings:
    """QA with a password that its server doesn't accept."""
    return configure(
        qa, smtp_server, from_domains="*", connections=1, authentication="basic", username="portal", new_secret="wrong"
    )


@pytest.fixture
def paused(crm: App, qa: Stage, refused: SmtpSettings) -> Message:
    """A mail that waits, because its stage is paused."""
    message = send(crm, qa)
    deliver()
    assert StageBackoff.objects.get(stage=qa).paused
    return message


# Pausing


@pytest.mark.parametrize("cause", ["sign-in", "certificate"])
def test_what_needs_a_person_pauses_the_stage_with_one_alarm_however_much_mail_waits(
    crm, qa, tmp_path, caplog, refused, smtp_server, cause
):
    caplog.set_level(logging.WARNING)
    with SmtpServer(tls=Authority(tmp_path).server_context("localhost")) as unknown:
        server = smtp_server
        if cause == "certificate":
            server = unknown
            configure(qa, server, server="localhost", security="starttls", authentication="none", connections=4)
        for _ in range(25):
            send(crm, qa)
        deliver()
        assert alarms(caplog) == 1
        queue = StageBackoff.objects.get(stage=qa)
        assert (queue.paused, queue.failures) == (True, 1)
        assert queue.code == {"sign-in": "auth_refused", "certificate": "certificate_unknown_authority"}[cause]
        before = server.connections
        deliver()
        assert server.connections == before  # nobody asks before the pause is over
        assert (set(Message.objects.values_list("status", flat=True)), server.arrived) == ({Status.QUEUED}, [])


def test_while_it_lasts_one_connection_probes_after_ever_longer_pauses(crm, qa, refused, smtp_server, caplog):
    caplog.set_level(logging.WARNING)
    configure(qa, connections=4, port=smtp_server.port, new_secret="wrong as well")
    for _ in range(30):
        send(crm, qa)
    deliver()
    pauses, since = [], StageBackoff.objects.get(stage=qa).since
    for _ in range(6):
        queue = StageBackoff.objects.get(stage=qa)
        pauses.append((queue.retry_at - timezone.now()).total_seconds() / 60)
        now_due()
        before = smtp_server.connections
        deliver()
        assert smtp_server.connections == before + 1
    assert [round(pause) for pause in pauses] == [1, 2, 4, 8, 16, 30]
    assert all(shorter < longer for shorter, longer in pairwise(pauses))
    assert alarms(caplog) == 1
    assert StageBackoff.objects.get(stage=qa).since == since
    smtp_server.users = {"portal": "wrong as well"}
    now_due()
    deliver()
    assert len(smtp_server.arrived) == 30
    assert not StageBackoff.objects.filter(failures__gt=0).exists()


# The banner


def pages_of(stage: str, message: Message) -> list[str]:
    configuration = f"/management/configure/emails/{stage}/"
    own = [configuration, f"{configuration}edit/", f"{configuration}delete/", f"{configuration}test-mail/"]
    log = f"/monitor/email-log/{stage}/"
    return [*own, f"/apps/crm/configuration/emails/{stage}/", log, f"{log}{message.pk}/"]


def test_every_page_of_the_stage_says_what_is_wrong_and_what_to_do(as_administrator, qa, paused):
    for page in pages_of("qa", paused):
        answer = as_administrator.get(page)
        shown = words(answer)
        assert "Deliveries of QA are paused. The server doesn't accept username and password." in shown.replace(
            "</strong>", ""
        ), page
        assert REFUSAL in shown
        assert "Enter username and password again" in shown
        assert answer.context["stage_trouble"].retry_at > timezone.now()
        assert f'next try: <time datetime="{answer.context["stage_trouble"].retry_at:%Y-%m-%dT%H:%M}' in shown
        assert f'action="{RESUME}"' in shown
        assert f'name="next" value="{page}"' in shown
        assert "wrong</" not in shown


def test_a_member_who_cannot_fix_the_settings_is_told_who_can(as_viewer, qa, paused):
    shown = words(as_viewer.get("/apps/crm/configuration/emails/qa/"))
    assert "Ask an email administrator to fix the settings of QA." in shown
    assert "What to do:" not in shown
    assert "Paused" in shown and "Configured" not in shown


def test_other_pages_and_other_stages_say_nothing_of_it(as_administrator, crm, production, paused):
    configure(production)
    elsewhere = pages_of("production", send(crm, production))
    for page in [*elsewhere, "/apps/", "/management/configure/emails/", "/accounts/profile/"]:
        answer = as_administrator.get(page)
        assert answer.status_code == 200
        assert "Problem with the SMTP server" not in words(answer), page


def test_the_page_about_all_stages_says_so_beside_configured(as_viewer, qa, production, paused, django_assert_num_queries):
    configure(production)
    page = as_viewer.get("/management/configure/emails/")
    shown = words(page)
    assert shown.count("Paused") == 1
    places = [shown.index(words) for words in ("QA<", "Paused", "The server doesn't accept username", "Production<")]
    assert places == sorted(places)
    with CaptureQueriesContext(connection) as one_in_trouble:
        as_viewer.get("/management/configure/emails/")
    StageBackoff.objects.create(stage=production, failures=1, code=StageBackoff.objects.get(stage=qa).code)
    with django_assert_num_queries(len(one_in_trouble)):
        shown = words(as_viewer.get("/management/configure/emails/"))
    assert (shown.count("Paused"), shown.count("Failing")) == (1, 1)


def test_nobody_signed_in_hears_of_it(client, paused):
    for page in pages_of("qa", paused):
        answer = client.get(page, follow=True)
        assert answer.redirect_chain
        assert "paused" not in words(answer)
        assert REFUSAL not in words(answer)


def test_who_may_not_resume_is_told_and_offered_no_button(as_viewer, paused):
    for page in (BASE, "/monitor/email-log/qa/", f"/monitor/email-log/qa/{paused.pk}/"):
        shown = words(as_viewer.get(page))
        assert "Deliveries of QA are paused." in shown
        assert RESUME not in shown


def test_a_server_that_is_away_is_a_warning_and_no_pause(as_administrator, crm, qa, closed_port):
    configure(qa, port=closed_port)
    send(crm, qa)
    deliver()
    shown = words(as_administrator.get(BASE))
    assert "Mail of QA waits for its SMTP server." in shown
    assert "nothing listens on this port." in shown
    assert "Try now" in shown
    assert "paused" not in shown


def test_what_a_server_says_is_shown_as_text(as_administrator, crm, qa, refused, smtp_server):
    smtp_server.refusal = lambda *_: "535 <script>alert(1)</script>"
    send(crm, qa)
    deliver()
    page = as_administrator.get(BASE).content.decode()
    assert "535 &lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_the_banner_goes_when_mail_goes(as_administrator, qa, paused, smtp_server):
    smtp_server.users = {"portal": "wrong"}
    now_due()
    deliver()
    assert "Problem with the SMTP server" not in words(as_administrator.get(BASE))


# Resuming


def test_resuming_tries_the_server_at_once_and_the_audit_trail_says_who_did(
    as_administrator, administrator, qa, paused, smtp_server
):
    smtp_server.users = {"portal": "wrong"}  # fixed at the server: the settings stay
    deliver()
    assert smtp_server.arrived == []
    answer = as_administrator.post(RESUME, follow=True)
    assert answer.redirect_chain == [(BASE, 302)]
    assert "Deliveries of QA were resumed" in message_text(answer)
    assert "Problem with the SMTP server" not in words(answer)
    deliver()
    assert len(smtp_server.arrived) == 1
    event = AuditEvent.objects.get(operation="Resume deliveries")
    assert (event.actor, event.stage, event.entity_name, event.status) == (administrator, qa, "QA", "succeeded")
    assert event.request_id


def test_resuming_too_early_pauses_again(as_administrator, qa, paused, caplog):
    caplog.set_level(logging.WARNING)
    as_administrator.post(RESUME)
    deliver()
    queue = StageBackoff.objects.get(stage=qa)
    assert (queue.paused, queue.failures, alarms(caplog)) == (True, 1, 1)


def test_saving_the_settings_tries_the_server_at_once_too(as_administrator, qa, paused, smtp_server):
    form = as_administrator.get(f"{BASE}edit/").context["form"]
    values = {name: "" if (value := form[name].value()) is None else value for name in form.fields}
    assert as_administrator.post(f"{BASE}edit/", {**values, "password": "right"}).status_code == 302
    assert "Problem with the SMTP server" not in words(as_administrator.get(BASE))
    deliver()
    assert len(smtp_server.arrived) == 1


@pytest.mark.parametrize("back", ["/monitor/email-log/qa/?q=Hello&status=queued", "/apps/crm/configuration/emails/qa/"])
def test_resuming_leads_back_to_the_page_it_was_asked_on(as_administrator, paused, back):
    assert as_administrator.post(RESUME, {"next": back})["Location"] == back


@pytest.mark.parametrize(
    "back", ["", "https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "https:///evil.example"]
)
def test_resuming_leads_to_no_other_site(as_administrator, paused, back):
    assert as_administrator.post(RESUME, {"next": back})["Location"] == BASE


def test_a_page_that_only_answers_a_form_is_not_gone_back_to(as_administrator, paused):
    """The button on it would lead to where no page is."""
    refused = as_administrator.post(f"{BASE}test/", {"saved": "yes", "recipient": "rubbish"})
    assert refused.status_code == 422
    assert 'name="next" value=""' in words(refused)


def test_who_may_not_resumes_nothing(client, as_viewer, as_developer, paused, production, administrator):
    for browser in (as_viewer, as_developer, manager_of(production)):
        assert browser.post(RESUME).status_code == 403
    assert client.post(RESUME)["Location"].startswith("/accounts/login/")
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(administrator)
    assert forger.post(RESUME).status_code == 403
    assert StageBackoff.objects.get().paused
    assert not AuditEvent.objects.filter(operation="Resume deliveries").exists()


def test_resuming_is_a_post_to_a_stage_that_is_there(as_administrator, paused):
    assert as_administrator.get(RESUME).status_code == 405
    assert as_administrator.put(RESUME).status_code == 405
    assert as_administrator.post(RESUME.replace("/qa/", "/nowhere/")).status_code == 404
    assert StageBackoff.objects.get().paused


def test_with_trouble_the_test_mail_waits_like_any_other(as_administrator, crm, qa, paused, smtp_server):
    as_administrator.post(TEST_MAIL, {"app": crm.pk, "address": "me@example.com"})
    deliver()
    assert Message.objects.get(via=Source.PORTAL).status == Status.QUEUED
    smtp_server.users = {"portal": "wrong"}
    as_administrator.post(RESUME)
    deliver()
    assert smtp_server.recipients == {"customer@example.com", "me@example.com"}
