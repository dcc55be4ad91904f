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
from emailconfig.doctor.examination import Finding, record
from emailconfig.models import SmtpSettings
from gateway.models import Gateway
from organization.access import Scope
from organization.builtin_roles import DEVELOPER
from organization.credentials import create_credential
from organization.models import App, Credential, Role, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.holding.pauses import pause
from outbox.models import Message, Source
from outbox.submission import Envelope, submit
from testlists.models import TestList
from testlists.services import ListChange, save_test_list
from tests.support.outbox import send, set_list
from tests.support.portal import OPERATOR, configure, mail, make_app, make_member, make_stage, signed_in
from tests.support.testlists import time_goes_by


@pytest.fixture(autouse=True)
def worker_and_gateway(db: None) -> None:
    Worker.objects.create(name="w1")
    Gateway.objects.create(name="g1")


def titles(client: Client) -> list[str]:
    return [notice.title for notice in client.get("/").context["waiting"]]


def checklist(client: Client) -> dict[str, bool]:
    """The steps of the first day, and which of them lead somewhere. Those that are done are left out."""
    return {step.label: bool(step.url) for step in client.get("/").context["first_day"] if not step.done}


def test_nothing_waits_when_all_is_well(as_administrator: Client, as_viewer: Client, crm: App, qa: Stage) -> None:
    configure(qa)
    assert titles(as_administrator) == titles(as_viewer) == []
    assert "All is well" in as_viewer.get("/").content.decode()
    assert "All is well" not in as_administrator.get("/").content.decode()  # there is the rest of the first day


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
    [(-1, ["has expired"]), (0, ["ends today"]), (1, ["ends tomorrow"]), (30, ["ends in 30 days"]), (31, [])],
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


def test_the_first_day_leads_through_an_empty_portal_and_goes_away_when_it_is_done(
    as_administrator: Client, as_viewer: Client
) -> None:
    begin = {"Create a stage": True, "Create an app": True, "Make a test list Active": False}
    begin |= {"Create a credential for an app": False, "Send the first email": False}
    assert checklist(as_administrator) == begin
    qa = make_stage("qa", "QA")
    configuration = {"Set up the SMTP server of a stage": True, "Test the connection": False}
    assert list(checklist(as_administrator)) == [*configuration, *list(begin)[1:]]
    settings = configure(qa)
    assert checklist(as_administrator)["Test the connection"]
    record(OPERATOR, settings, [Finding("TCP", ok=True)])
    crm = make_app("crm", "Customer Relations")
    assert checklist(as_administrator) == {
        "Make a test list Active": True,
        "Create a credential for an app": True,
        "Send the first email": False,
    }
    set_list(crm, qa, "tess@acme.example")
    create_credential(crm, qa, OPERATOR)
    assert checklist(as_administrator) == {"Send the first email": True}
    send(crm, qa, "customer@example.com")
    Message.objects.update(status="sent", hold_reason="", via=Source.PORTAL)
    assert checklist(as_administrator) == {"Send the first email": True}  # it was a test mail of the portal
    Message.objects.update(via=Source.GATEWAY)
    assert checklist(as_administrator) == checklist(as_viewer) == {}
    set_list(crm, qa, active=False)
    Credential.objects.update(revoked_at=timezone.now())
    assert checklist(as_administrator) == {}


def test_the_first_day_has_only_what_the_member_may_do(as_developer: Client, as_viewer: Client, qa: Stage) -> None:
    steps = ["Make a test list Active", "Create a credential for an app", "Send the first email"]
    assert list(checklist(as_developer)) == steps
    assert checklist(as_viewer) == {}


def test_the_number_of_queries_does_not_grow(
    as_administrator: Client, crm: App, qa: Stage, django_assert_max_num_queries
) -> None:
    for number in range(30):
        stage = make_stage(f"s{number}", f"S{number}")
        record_failure(stage.pk, ConnectionFailure("AUTH", "auth_refused"))
    with django_assert_max_num_queries(18):
        assert len(titles(as_administrator)) == 61


def test_what_is_rare_is_read_only_where_there_is_some(
    as_administrator: Client, crm: App, qa: Stage, django_assert_max_num_queries
) -> None:
    configure(qa)
    titles(as_administrator)  # stores the session
    with django_assert_max_num_queries(18):
        assert titles(as_administrator) == []


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
    expired = ["The test list of Customer Relations in QA has expired: 1 email held"]
    assert titles(as_administrator) == titles(as_developer) == expired
    assert titles(as_viewer) == []
    pages = [f"/apps/crm/configuration/emails/{page}" for page in ("qa/", "qa/edit/")]
    for page in pages:
        assert "has expired" in as_developer.get(page).content.decode()
        assert "until you extend or" in as_developer.get(page).content.decode()


def test_of_two_lists_the_one_that_ends_first_comes_first(as_administrator: Client, crm: App, shop: App, qa: Stage) -> None:
    configure(qa)
    now, people = database_now(), [NamedAddress("tess@acme.example")]
    for app, hours in ((crm, 3.5), (shop, 2.5)):
        save_test_list(app, qa, ListChange(True, False, [], people, now + datetime.timedelta(hours=hours)), OPERATOR)
    assert titles(as_administrator) == [
        "The test list of Web Shop in QA ends in 2\xa0hours",
        "The test list of Customer Relations in QA ends in 3\xa0hours",
    ]


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
    StageCount.objects.create(stage=qa, hour=hour, sent=1_200, failed=2)
    StageCount.objects.create(stage=qa, hour=hour - datetime.timedelta(hours=30), sent=100)
    home = as_administrator.get("/")
    rows = {row.stage: row for row in home.context["stages"]}
    assert (rows[qa].sent, rows[qa].state) == (1_200, "Configured")
    assert f"Addresses by hour in QA: {hour:%H:%M} 1,200 sent, 2 failed" in home.content.decode()
    assert "Addresses by hour in Production: none" in home.content.decode()
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
    assert [row.failed.messages for row in as_administrator.get("/").context["stages"]] == [2]  # as the notice counts
    log = as_administrator.get(notice.url).content.decode()
    assert all(f"/monitor/email-log/qa/{number}/" in log for number in Message.objects.values_list("pk", flat=True))
    assert titles(as_developer) == ["1 email of QA failed in the last 24 hours"]
    Message.objects.update(created=timezone.now() - datetime.timedelta(hours=25))
    assert titles(as_administrator) == []


def test_yesterdays_failures_of_all_stages_are_one_link_to_the_log(
    as_administrator: Client, as_developer: Client, crm: App, shop: App, qa: Stage, production: Stage
) -> None:
    for app, stage in ((crm, qa), (shop, production)):
        send(app, stage)
    Message.objects.update(status="failed", hold_reason="")
    assert "failed yesterday" not in as_administrator.get("/").content.decode()
    Message.objects.update(created=timezone.now() - datetime.timedelta(days=1))
    link = '<a href="/monitor/email-log/?status=failed&amp;range=yesterday">2 emails failed yesterday</a>'
    assert link in as_administrator.get("/").content.decode()
    log = as_administrator.get("/monitor/email-log/?status=failed&range=yesterday").content.decode()
    assert all(f"/{number}/" in log for number in Message.objects.values_list("pk", flat=True))
    assert "1 email failed yesterday" in as_developer.get("/").content.decode()


def test_more_failed_emails_than_are_worth_counting(
    as_administrator: Client, as_developer: Client, crm: App, shop: App, qa: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(qa)
    monkeypatch.setattr("outbox.counts.failed.COUNTED_AT_MOST", 2)
    for app in (crm, shop, shop, shop):
        send(app, qa)
    failed = Message.objects.filter(app__in=[crm, shop])
    failed.update(status="failed", hold_reason="")
    assert titles(as_administrator) == ["2+ emails of QA failed in the last 24 hours"]
    assert titles(as_developer) == []  # theirs came before the newest
    failed.update(created=timezone.now() - datetime.timedelta(days=1))
    assert "2+ emails failed yesterday" in as_administrator.get("/").content.decode()
    assert "1+ emails failed yesterday" in as_developer.get("/").content.decode()


def test_the_box_finds_an_email_in_the_log(as_administrator: Client, crm: App, qa: Stage) -> None:
    page = as_administrator.get("/").content.decode()
    assert 'action="/monitor/email-log/"' in page and 'name="q"' in page


def test_a_row_has_the_last_test_of_its_server(as_administrator: Client, as_viewer: Client, crm: App, qa: Stage) -> None:
    settings = configure(qa)
    assert "Connection not tested" in as_viewer.get("/").content.decode()
    for ok, words in ((True, "Tested"), (False, "Test failed")):
        record(OPERATOR, settings, [Finding("TCP", ok=ok)])
        (row,) = as_viewer.get("/").context["stages"]
        assert row.last_test.succeeded is ok
        assert words in as_viewer.get("/").content.decode()
    configure(qa, port=2527)  # which nobody has tested
    assert "Connection not tested" in as_administrator.get("/").content.decode()


def test_a_pause_says_how_many_of_the_emails_that_one_may_see_wait_behind_it(
    as_administrator: Client, as_developer: Client, crm: App, shop: App, qa: Stage
) -> None:
    configure(qa)
    send(crm, qa, "customer@example.com")  # it was queued before
    pause(Scope(stage=qa), "The relay moves", OPERATOR)
    for _ in range(2):
        send(shop, qa, "customer@example.com")
    (for_administrators,), (for_developers,) = (client.get("/").context["waiting"] for client in (as_administrator, as_developer))
    assert for_administrators.text.endswith("The relay moves – 3 emails wait.")
    assert for_developers.text.endswith("The relay moves – 1 email waits.")


def test_a_developer_has_their_apps_their_lists_and_their_last_emails(
    as_developer: Client, as_administrator: Client, as_viewer: Client, crm: App, shop: App, qa: Stage, production: Stage
) -> None:
    until = database_now() + datetime.timedelta(days=2)
    save_test_list(crm, qa, ListChange(True, False, [], [NamedAddress("tess@acme.example")], until), OPERATOR)
    numbers = [send(app, qa, "customer@example.com").pk for app in (crm, crm, shop)]
    home = as_developer.get("/")
    (row,) = home.context["own_apps"]
    assert row.app == crm
    assert [(item.stage, item.state) for item in row.lists] == [(qa, "active"), (production, "inactive")]
    assert f"Active until {until:%-d %b %H:%M}" in home.content.decode()
    assert [message.pk for message in home.context["last_emails"]] == [numbers[1], numbers[0]]
    assert str(shop) not in home.content.decode()
    for other in (as_administrator, as_viewer):
        assert other.get("/").context["own_apps"] == []
    everywhere = signed_in(make_member("Dora", Role.objects.get(name=DEVELOPER)))
    assert [row.app for row in everywhere.get("/").context["own_apps"]] == [crm, shop]


def test_a_developer_who_may_not_read_the_log_sees_no_email(crm: App, qa: Stage) -> None:
    send(crm, qa, "customer@example.com")
    role = Role.objects.create(name="Lists", permissions=[Permission.EDIT_ASSET_CONFIGURATIONS.value])
    home = signed_in(make_member("Lea", role, crm)).get("/")
    assert [row.app for row in home.context["own_apps"]] == [crm]
    assert home.context["last_emails"] == []
