"""Home: what waits for whom."""

from __future__ import annotations

import datetime

import pytest
from django.test import Client
from django.utils import timezone

from analytics.models import HourlyCount, StageCount
from common.addresses import NamedAddress
from common.clock import database_now
from delivery.backoff import record_failure
from delivery.models import Worker
from emailconfig.connection import ConnectionFailure
from emailconfig.models import SmtpSettings
from gateway.models import Gateway
from organization.credentials import create_credential
from organization.models import App, Credential, Stage
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message, Source
from outbox.submission import Envelope, submit
from testlists.models import TestList
from testlists.services import ListChange, save_test_list
from tests.support.portal import OPERATOR, configure, mail, make_app, make_member, make_stage, signed_in
from tests.support.testlists import time_goes_by


@pytest.fixture(autouse=True)
def worker_and_gateway(db: None) -> None:
    Worker.objects.create(name="w1")
    Gateway.objects.create(name="g1")


def titles(client: Client) -> list[str]:
    return [notice.title for notice in client.get("/").context["waiting"]]


def test_nothing_waits_when_all_is_well(as_administrator: Client, crm: App, qa: Stage) -> None:
    configure(qa)
    assert titles(as_administrator) == []
    assert "All is well" in as_administrator.get("/").content.decode()


def test_it_is_for_members_and_takes_no_post(as_viewer: Client) -> None:
    assert Client().get("/").status_code == 302
    assert as_viewer.post("/").status_code == 405


def test_a_stage_without_a_server_waits_for_whom_may_set_it_up(
    as_administrator: Client, as_developer: Client, crm: App, qa: Stage
) -> None:
    assert titles(as_administrator) == ["QA has no SMTP server yet"]
    assert titles(as_developer) == []


def test_an_archived_stage_waits_for_nobody(as_administrator: Client, crm: App, qa: Stage) -> None:
    Stage.objects.update(archived=True)
    assert not [title for title in titles(as_administrator) if "QA" in title]


@pytest.mark.parametrize(
    ("code", "says"),
    [("auth_refused", "Deliveries of QA are paused"), ("connection_refused", "Emails of QA wait for the SMTP server")],
)
def test_everybody_hears_of_a_stage_in_trouble(as_viewer: Client, crm: App, qa: Stage, code: str, says: str) -> None:
    configure(qa)
    record_failure(qa.pk, ConnectionFailure("AUTH", code))
    assert titles(as_viewer) == [says]


@pytest.mark.parametrize(
    ("code", "todo", "for_others"),
    [
        ("auth_refused", "Enter username and password again.", "Ask an email administrator to fix the settings of QA."),
        ("connection_refused", "Check server and port:", "The portal tries again automatically."),
    ],
)
def test_what_to_do_about_trouble_is_said_to_whom_may_do_it(
    as_administrator: Client, as_viewer: Client, crm: App, qa: Stage, code: str, todo: str, for_others: str
) -> None:
    configure(qa)
    record_failure(qa.pk, ConnectionFailure("AUTH", code))
    (for_administrators,) = as_administrator.get("/").context["waiting"]
    (for_viewers,) = as_viewer.get("/").context["waiting"]
    assert todo in for_administrators.text and for_others not in for_administrators.text
    assert for_others in for_viewers.text and todo not in for_viewers.text


@pytest.mark.parametrize(
    ("days", "says"),
    [(-1, ["has ended"]), (0, ["ends today"]), (1, ["ends tomorrow"]), (30, ["ends in 30 days"]), (31, [])],
)
def test_a_client_secret_that_ends_soon(as_administrator: Client, crm: App, qa: Stage, days: int, says: list[str]) -> None:
    configure(qa)
    SmtpSettings.objects.update(secret_ends=timezone.localdate() + datetime.timedelta(days=days))
    assert [title.removeprefix("The client secret of QA ") for title in titles(as_administrator)] == says


def test_a_credential_in_use_that_ends_soon(as_developer: Client, as_viewer: Client, crm: App, shop: App, qa: Stage) -> None:
    configure(qa)
    for app in (crm, shop):
        create_credential(app, qa, OPERATOR, ends=timezone.localdate() + datetime.timedelta(days=1))
    assert titles(as_developer) == []  # no app has used them
    Credential.objects.update(last_used=timezone.now())
    assert titles(as_developer) == ["A credential of Customer Relations in QA ends tomorrow"]
    assert titles(as_viewer) == []


def test_held_mail_is_counted_for_whom_may_see_or_release_it(
    as_administrator: Client, as_developer: Client, as_viewer: Client, crm: App, shop: App, qa: Stage
) -> None:
    configure(qa)
    _hold_mail_of(qa, crm, shop)
    assert set(Message.objects.values_list("status", flat=True)) == {"held"}
    everything = {f"1 email of {crm} in QA held", f"1 email of {shop} in QA held"}
    assert set(titles(as_administrator)) == everything
    assert f"1 email of {crm} in QA held" in titles(as_developer)


def test_held_mail_of_many_apps_is_one_thing_that_waits(
    as_administrator: Client, as_developer: Client, crm: App, shop: App, qa: Stage
) -> None:
    configure(qa)
    others = [make_app(f"app-{number}", f"App {number}") for number in (1, 2)]
    _hold_mail_of(qa, crm, shop, *others)
    assert titles(as_administrator) == ["4 emails of 4 apps in QA held"]
    (waiting,) = as_administrator.get("/").context["waiting"]
    log = as_administrator.get(waiting.url).content.decode()
    assert all(f"/monitor/email-log/qa/{number}/" in log for number in Message.objects.values_list("pk", flat=True))
    assert titles(as_developer) == [f"1 email of {crm} in QA held"]


def _hold_mail_of(stage: Stage, *apps: App) -> None:
    for app in apps:
        test_list = TestList.objects.get(app=app, stage=stage)
        test_list.active, test_list.version, test_list.active_version = True, 1, 1  # emptied behind our back
        test_list.save()
        submit(app, stage, Envelope("crm@acme.example", ["customer@example.com"]), mail(), via=Source.COMMAND)


def test_no_worker_is_told_first(as_administrator: Client, as_viewer: Client, crm: App, qa: Stage) -> None:
    Worker.objects.all().delete()
    assert titles(as_administrator) == ["Emails are not being delivered", "QA has no SMTP server yet"]
    assert titles(as_viewer) == []


def test_no_gateway_is_told_as_well(as_administrator: Client, as_viewer: Client, crm: App, qa: Stage) -> None:
    configure(qa)
    Gateway.objects.all().delete()
    assert titles(as_administrator) == ["Emails are not being accepted"]
    assert "manage.py smtp_gateway" in as_administrator.get("/").content.decode()
    assert titles(as_viewer) == []


def test_an_empty_portal_says_where_to_begin(as_administrator: Client) -> None:
    assert titles(as_administrator) == ["Create the first stage", "Create the first app"]


def test_the_number_of_queries_does_not_grow(
    as_administrator: Client, crm: App, qa: Stage, django_assert_max_num_queries
) -> None:
    for number in range(30):
        stage = make_stage(f"s{number}", f"S{number}")
        record_failure(stage.pk, ConnectionFailure("AUTH", "auth_refused"))
    with django_assert_max_num_queries(38):
        assert len(titles(as_administrator)) == 61


def test_an_end_of_a_list_is_told_of_a_day_before_and_afterwards_what_it_holds(
    as_administrator: Client, as_developer: Client, as_viewer: Client, crm: App, qa: Stage
) -> None:
    configure(qa)
    now = database_now()
    people = [NamedAddress("tess@acme.example")]
    for hours, expected in ((30, []), (2.5, ["The test list of Customer Relations in QA ends in 2\xa0hours"])):
        save_test_list(crm, qa, ListChange(True, False, [], people, now + datetime.timedelta(hours=hours)), OPERATOR)
        assert titles(as_administrator) == titles(as_developer) == expected
    time_goes_by(crm, qa)
    submit(crm, qa, Envelope("crm@acme.example", ["customer@example.com"]), mail(), via=Source.COMMAND)
    over = ["The time of the test list of Customer Relations in QA is over: 1 email held"]
    assert titles(as_administrator) == titles(as_developer) == over
    assert titles(as_viewer) == []
    pages = [f"/apps/crm/configuration/emails/{page}" for page in ("qa/", "qa/edit/")]
    for page in pages:
        assert "is over in" in as_developer.get(page).content.decode()
        assert "until you extend or" in as_developer.get(page).content.decode()


def test_the_end_of_a_wider_policy_is_told_of_a_day_before(
    as_administrator: Client, as_viewer: Client, crm: App, qa: Stage
) -> None:
    configure(qa)
    change_policy(qa, RecipientPolicy.NOBODY, OPERATOR)
    until = database_now() + datetime.timedelta(hours=3, minutes=1)
    change_policy(qa, RecipientPolicy.AS_APPS_ASK, OPERATOR, until=until, typed_stage_name="QA")
    assert titles(as_administrator) == ["The recipient policy of QA ends in 3\xa0hours"]
    assert titles(as_viewer) == []


def test_each_stage_has_a_row_with_its_last_day(as_administrator: Client, crm: App, qa: Stage, production: Stage) -> None:
    configure(qa)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    StageCount.objects.create(stage=qa, hour=hour, sent=5, failed=2)
    StageCount.objects.create(stage=qa, hour=hour - datetime.timedelta(hours=30), sent=100)
    rows = {row.stage: row for row in as_administrator.get("/").context["stages"]}
    assert (rows[qa].sent, rows[qa].failed, rows[qa].state) == (5, 2, "Configured")
    assert (rows[production].sent, rows[production].state) == (0, "Not configured")
    record_failure(qa.pk, ConnectionFailure("AUTH", "auth_refused"))
    assert [row.state for row in as_administrator.get("/").context["stages"] if row.stage == qa] == ["Paused"]


def test_what_a_member_may_not_see_is_not_counted(as_developer: Client, crm: App, shop: App, qa: Stage) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    StageCount.objects.create(stage=qa, hour=hour, sent=12)
    for app, sent in ((crm, 5), (shop, 7)):
        HourlyCount.objects.create(app=app, stage=qa, hour=hour, sent=sent)
    assert [row.sent for row in as_developer.get("/").context["stages"]] == [5]
    stranger = signed_in(make_member("Nora")).get("/")
    assert stranger.context["stages"] == [] and "Find an email" not in stranger.content.decode()


def test_failed_emails_of_the_last_day_are_counted_as_the_log_shows_them(
    as_administrator: Client, as_developer: Client, crm: App, shop: App, qa: Stage
) -> None:
    configure(qa)
    for app in (crm, shop):
        submit(app, qa, Envelope("crm@acme.example", ["customer@example.com"]), mail(), via=Source.COMMAND)
    Message.objects.update(status="failed", hold_reason="")
    (notice,) = as_administrator.get("/").context["waiting"]
    assert notice.title == "2 emails of QA failed in the last 24 hours"
    log = as_administrator.get(notice.url).content.decode()
    assert all(f"/monitor/email-log/qa/{number}/" in log for number in Message.objects.values_list("pk", flat=True))
    assert titles(as_developer) == ["1 email of QA failed in the last 24 hours"]
    Message.objects.update(created=timezone.now() - datetime.timedelta(hours=25))
    assert titles(as_administrator) == []


def test_the_box_finds_an_email_in_the_log(as_administrator: Client, crm: App, qa: Stage) -> None:
    page = as_administrator.get("/").content.decode()
    assert 'action="/monitor/email-log/"' in page and 'name="q"' in page
