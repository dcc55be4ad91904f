"""A portal with something on every page, for tests that go through all pages."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from html import unescape

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.utils import timezone

from accounts.links import Purpose, make_link
from accounts.models import Identity
from accounts.own_mail.contents import OwnMessage
from accounts.passwords.reset import ResetRequest
from accounts.reminders.ends import Kind
from accounts.reminders.sending import Reminder
from analytics import rollup
from analytics.models import DailyRuleCount, HourlyCause, HourlyCount, HourlyLatency, HourlyRuleCount, RollUpPosition
from delivery.models import ConnectionSlot, StageBackoff, Worker
from emailconfig.doctor import runs
from emailconfig.models import ConnectionTest, DeletedSettings, LastTest, OAuthToken, SmtpSettings
from emaillog.bulk.service import Request, start
from emaillog.models import BulkAction, EmptiedInbox, ReadEmails
from gateway.models import Gateway
from organization import audit
from organization.access import Scope
from organization.credentials import create_credential
from organization.installation.seal import seal_new
from organization.kept_headers.changes import keep_header
from organization.models import App, Member, Role, Stage
from organization.recipient_policy.changes import allow
from organization.throttle.models import FailureCount
from outbox.bulk.checks import Act
from outbox.holding.pauses import pause
from outbox.models import Attempt, HandOverCapture, HeldAnswer, HoldReason, Message, Pause, Refusal, Source
from outbox.states import hold
from outbox.submission import Envelope, submit
from tests.support.outbox import deliver, send, set_list
from tests.support.portal import OPERATOR, configure, eventually, mail, make_member, signed_in
from tests.support.second_factor import give_app, give_codes, give_passkey
from tests.support.smtp_server import SmtpServer
from tests.support.testlists import keep_list

# An administrator's, with the places of `busy_portal`. tests/pages/test_every_page.py says if one is missing.
PAGES = [
    "/",
    "/apps/",
    "/apps/?q=nothing",
    "/apps/new/",
    "/apps/crm/edit/",
    "/apps/crm/configuration/emails/qa/",
    "/apps/shop/configuration/emails/production/",
    "/apps/crm/configuration/emails/qa/edit/",
    "/apps/crm/configuration/emails/qa/route/?to=customer@example.com",
    "/apps/crm/configuration/emails/production/edit/",
    "/apps/shop/configuration/emails/development/held/",
    "/apps/shop/configuration/emails/development/held/discard/",
    "/apps/crm/configuration/emails/qa/pause/",
    "/apps/crm/configuration/emails/qa/credentials/{credential}/edit/",
    "/apps/crm/configuration/emails/qa/credentials/{credential}/revoke/",
    "/management/configure/emails/",
    "/management/configure/emails/qa/",
    "/management/configure/emails/production/",
    "/management/configure/emails/qa/edit/",
    "/management/configure/emails/qa/edit/?preset=microsoft-365",
    "/management/configure/emails/qa/delete/",
    "/management/configure/emails/qa/kept-headers/",
    "/management/configure/emails/qa/recipients/",
    "/management/configure/emails/production/recipients/",
    "/management/configure/emails/qa/recipients/effect/?policy=listed-only&since=7d",
    "/management/configure/emails/qa/test-mail/",
    "/management/configure/emails/qa/test/{test}/",
    "/management/configure/emails/development/",
    "/management/configure/emails/development/held/",
    "/management/configure/emails/production/held/",
    "/management/configure/emails/development/held/discard/",
    "/management/configure/emails/qa/pause/",
    "/management/installation/",
    "/management/installation/emails/qa/",
    "/management/installation/emails/qa/discard/",
    "/management/view/audit-trail/",
    "/management/govern/members/",
    "/management/govern/members/new/",
    "/management/govern/members/{member}/",
    "/management/govern/members/{member}/edit/",
    "/management/govern/members/{member}/link/",
    "/management/govern/members/{member}/deactivate/",
    "/management/govern/members/{member}/sessions/",
    "/management/govern/members/{member}/roles/{grant}/revoke/",
    "/management/govern/roles/",
    "/management/govern/roles/new/",
    "/management/govern/roles/{role}/",
    "/management/govern/roles/{role}/edit/",
    "/management/govern/roles/{role}/delete/",
    "/management/configure/stages/",
    "/management/configure/stages/new/",
    "/management/configure/stages/qa/edit/",
    "/management/configure/stages/production/archive/",
    "/help/",
    "/help/reference/commands/",
    "/help/search/?q=held",
    "/help/search/?q=nothing+like+this",
    "/monitor/analytics/",
    "/monitor/analytics/qa/?range=7d",
    "/monitor/analytics/production/",
    "/monitor/guarantee/qa/",
    "/monitor/guarantee/qa/?since=2100-01-01",
    "/monitor/guarantee/production/?range=7d",
    "/monitor/email-log/",
    "/monitor/email-log/?range=custom&start=nonsense",
    "/monitor/emails/actions/",
    "/monitor/emails/actions/new/?act=resend&all=1",
    "/monitor/emails/actions/new/?act=cancel&all=1&stage=production",
    "/monitor/emails/actions/{action}/",
    "/monitor/email-log/qa/",
    "/monitor/email-log/qa/?q=nothing",
    "/monitor/email-log/development/",
    "/monitor/email-log/qa/{message}/",
    "/monitor/email-log/qa/{message}/?show=headers",
    "/monitor/email-log/qa/{message}/?show=source",
    "/monitor/email-log/qa/{message}/resend/",
    "/monitor/email-log/qa/{message}/resend/real-recipients/",
    "/monitor/email-log/production/{held}/",
    "/monitor/email-log/production/{held}/cancel/",
    "/monitor/email-log/qa/{listless}/release/",
    "/monitor/inbox/crm/qa/",
    "/monitor/inbox/crm/qa/?q=nothing",
    "/monitor/inbox/crm/qa/{message}/",
    "/monitor/inbox/crm/qa/{message}/?show=headers",
    "/monitor/inbox/crm/qa/empty/",
    "/accounts/profile/",
    "/accounts/second-factor/",
    "/accounts/second-factor/confirm/",
    "/management/govern/members/{member}/second-factor/remove/",
    "/accounts/password/",
    "/accounts/sessions/",
    "/no/such/page/",
]
PUBLIC_PAGES = [
    "/accounts/login/",
    "/accounts/password-reset/",
    "/accounts/password-reset/used/",
    "/accounts/invitation/used/",
    "/no/such/page/",
]
ADMIN_PAGES = ["/admin/", "/admin/organization/stage/", "/admin/organization/stage/{stage_number}/change/"]


@pytest.fixture
def busy_portal(
    crm: App,
    shop: App,
    development: Stage,
    qa: Stage,
    production: Stage,
    administrator: Member,
    smtp_server: SmtpServer,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, int]:
    """A portal with something on every page: sent, failed, deferred and held mail, a paused stage, an Active list."""
    configure(qa, smtp_server, from_domains="*", authentication="none")
    smtp_server.rcpt = {"no@example.com": "550 5.1.1 no such user", "later@example.com": "451 4.7.1 later"}.get
    send(crm, qa, "yes@example.com", "no@example.com", "later@example.com")
    deliver()
    html = b"From: crm@acme.example\r\nTo: a@example.com\r\nSubject: HTML\r\nContent-Type: text/html\r\n\r\n<p lang=en>Hi</p>\r\n"
    set_list(crm, qa, "ana@acme.example", "ben@acme.example", tag_subject=True)
    send(crm, qa, content=html)
    deliver()
    held = send(crm, production)
    set_list(shop, qa, "gone@acme.example").addresses.all().delete()
    listless = send(shop, qa)
    monkeypatch.setattr(rollup, "LAG", timedelta(0))
    rollup.roll_up()
    credential = create_credential(crm, qa, OPERATOR).credential
    _in_trouble(crm, development)
    _asking(send(shop, development))
    pause(Scope(shop, production), "Duplicate invoices", OPERATOR)
    member = make_member("Tess Tester", Role.objects.create(name="Tester", permissions=["access_asset_logs"]), crm)
    return {
        "member": member.pk,
        "grant": member.role_grants.get().pk,
        "role": member.role_grants.get().role_id,
        "message": Message.objects.filter(subject="HTML").get().pk,
        "held": held.pk,
        "listless": listless.pk,
        "credential": credential.pk,
        "action": start(Request(Act.RETRY, "stage=qa&status=deferred"), administrator).pk,
        "test": _failed_test(qa, administrator, closed_port).pk,
        "stage_number": qa.pk,
    }


def _in_trouble(app: App, stage: Stage) -> None:
    """A stage whose server refuses the connection, so that a message waits."""
    with SmtpServer(users={"portal": "right"}) as refusing:
        configure(stage, refusing, authentication="basic", username="portal", new_secret="another")
        send(app, stage)
        deliver()
    assert StageBackoff.objects.get(stage=stage).paused


def _asking(message: Message) -> None:
    """Held messages that wait for a person's answer."""
    with transaction.atomic():
        hold(message, HoldReason.WAITED_TOO_LONG)


def _failed_test(stage: Stage, member: Member, port: int) -> ConnectionTest:
    """A connection test that failed."""
    settings = SmtpSettings(stage=stage, server="127.0.0.1", port=port, security="none", sender_address="a@acme.example")
    test = runs.start(settings, "", member)
    eventually(lambda: ConnectionTest.objects.exclude(finished=None).exists())
    return test


@pytest.fixture
def everything(
    administrator: Member, developer: Member, viewer: Member, crm: App, shop: App, qa: Stage, production: Stage
) -> Member:
    """Make an organization in which every page has something to show. Returns the administrator."""
    settings = configure(qa)
    OAuthToken.objects.create(settings=settings)
    DeletedSettings.objects.create(stage=qa, version=1)
    ConnectionTest.objects.create(stage=qa, member=administrator, server=str(settings), sender=settings.sender_address)
    LastTest.objects.create(stage=qa, server=str(settings), succeeded=True)
    keep_list(crm, qa, "ana@example.com", members=(viewer,), active=True)
    credential = create_credential(crm, qa, OPERATOR).credential
    Refusal.objects.create(app=crm, stage=qa, credential=credential, via=Source.GATEWAY, step="DATA", reply="552 Too large")
    keep_header(qa, "X-Campaign", OPERATOR, typed_stage_name=qa.name)
    allow(qa, ["dan@example.com"], OPERATOR, typed_stage_name=qa.name)
    Gateway.objects.create(name="g1")
    FailureCount.objects.create(secret="password", network="192.0.2.7", failures=1, changed=timezone.now())
    seal_new()
    Pause.objects.create(stage=production, app=shop, by="Ana", reason="Duplicate invoices")
    HeldAnswer.objects.create(stage=qa, choice=HeldAnswer.Choice.KEEP, until=timezone.now())
    for stage in (qa, production):
        message = submit(crm, stage, Envelope("crm@acme.example", ["customer@example.com"]), mail(), via=Source.COMMAND)
    Attempt.objects.create(message=message, address="customer@example.com", outcome=Attempt.Outcome.DEFERRED)
    StageBackoff.objects.get_or_create(stage=qa)
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    key = (qa.pk, hour, crm.pk)
    rollup._add({HourlyCount: {key: Counter(accepted=2, sent=1, deferred=1)}})
    rollup._add({HourlyLatency: {(*key, 3): Counter(sent=1)}, HourlyCause: {(*key, "greylisted"): Counter(deferred=1)}})
    by_rule = Counter(recipients=1, first_try=1, last_try=1)
    rollup._add({HourlyRuleCount: {(*key, "open"): by_rule}, DailyRuleCount: {(qa.pk, hour.date(), crm.pk, "open"): by_rule}})
    HandOverCapture.objects.create(message=message, address="customer@example.com")
    RollUpPosition.objects.create(counted="mails", last=2)
    EmptiedInbox.objects.create(app=crm, stage=qa)
    BulkAction.objects.create(act=Act.RETRY, member=developer, by="Devon Dev", query="", zone="UTC", up_to=1, matching=1)
    ReadEmails.objects.create(member=developer, app=crm, stage=qa)
    ConnectionSlot.objects.create(worker=Worker.objects.create(name="w1"), stage=qa)
    give_app(viewer)
    give_codes(viewer)
    give_passkey(viewer)
    audit.record(OPERATOR, "Update", crm)
    for member in (developer, viewer):
        signed_in(member)
    Identity.objects.create(issuer="https://id.example", subject="ada", member=administrator)
    make_link(viewer, Purpose.PASSWORD_RESET)
    OwnMessage.objects.create(message=message)
    ResetRequest.objects.create(address=developer.email)
    Reminder.objects.create(kind=Kind.CREDENTIAL, number=credential.pk, ends=hour, noticed=hour)
    return administrator


def words(answer: HttpResponse) -> str:
    return " ".join(unescape(answer.content.decode()).split())


def message_text(answer: HttpResponse) -> str:
    """The flash message on the page that a browser is sent to."""
    return " ".join(str(message) for message in answer.context["messages"])
