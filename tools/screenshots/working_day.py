"""The demo organization after a working day, which the pictures show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.utils import timezone
from django.utils.timezone import localdate

from analytics.rollup import roll_up
from common.addresses import NamedAddress
from delivery.models import Worker
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from gateway.models import Gateway
from organization.models import App, Credential, Member, Stage
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import create_stage
from outbox.models import Attempt, Message, Source
from outbox.submission import Envelope, submit
from testlists.services import ListChange, save_test_list
from tests.support.outbox import deliver
from tests.support.portal import configure
from tests.support.smtp_server import SmtpServer

HTML = """From: Customer Relations <crm@acme.example>\r
To: Maria Costa <customer@example.com>\r
Cc: billing@example.com\r
Subject: {subject}\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<h1 style="color:#5058e9">{subject}</h1><p>Dear Maria, this is what the app wrote.</p>\r
"""
TEXT = "From: {app}@acme.example\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nDear customer,\r\n\r\n{subject}.\r\n"
REPLIES = {"old@example.com": "550 5.1.1 No such user here", "busy@example.com": "451 4.7.1 Greylisted, come back later"}


@dataclass(frozen=True)
class Day:
    """The URLs and ids that the pictures need."""

    test_mail: int
    held_mail: int
    server_port: int


@contextmanager
def working_day() -> Iterator[Day]:
    """Prepare the day. QA sends, and the test list of `crm` is Active there. Development is paused. Staging has no server."""
    with SmtpServer(rcpt=REPLIES.get) as server:
        call_command("migrate", verbosity=0)
        call_command("seed_demo", smtp_port=server.port, stdout=StringIO())
        ada = Member.objects.get(name="Ada Admin")
        crm, shop, hr = (App.objects.get(key=key) for key in ("crm", "shop", "hr"))
        development, qa, production = (Stage.objects.get(key=key) for key in ("development", "qa", "production"))
        staging = Stage(key="staging", name="Staging", kind=Stage.Kind.NON_PRODUCTION, order=4)
        staging = create_stage(staging, ada, RecipientPolicy.AS_APPS_ASK)
        configure(qa, server)
        _a_day_of_mail(shop, hr, qa)
        mail = _test_mail(crm, qa, ada)
        save_test_list(crm, production, ListChange(False, False, [], [NamedAddress("qa@acme.example", "Quinn QA")]), ada)
        held = _send(hr, staging, "employee@example.com", "Leave request approved")
        _refused_sign_in(crm, development)
        _settings_of_everyday(qa, production, development, ada)
        lives = timezone.now() + timedelta(hours=1)  # while the pictures are taken
        Worker.objects.create(name="worker", seen=lives)
        Gateway.objects.create(name="gateway", seen=lives)
        _count()
        yield Day(mail.pk, held.pk, server.port)


def _a_day_of_mail(shop: App, hr: App, stage: Stage) -> None:
    special = {(5, 0): "old@example.com", (9, 0): "old@example.com", (14, 1): "busy@example.com"}
    for hour in range(22, 0, -1):
        for number in range(2 + hour * 5 % 7):
            to = special.get((hour, number), f"orders{number}@example.com")
            _hours_ago(_send(shop, stage, to, f"Order 48{22 - hour:02}{number} has shipped"), hour)
        if hour % 4 == 0:
            _hours_ago(_send(hr, stage, "employee@example.com", "Pay slip of May"), hour)
    deliver()
    for attempt in Attempt.objects.select_related("message"):
        Attempt.objects.filter(pk=attempt.pk).update(created=attempt.message.created + timedelta(seconds=2))


def _test_mail(app: App, stage: Stage, member: Member) -> Message:
    devon = list(Member.objects.filter(email="dev.devon@acme.example"))
    testers = [NamedAddress("testers@acme.example", "CRM testers"), NamedAddress("qa@acme.example", "Quinn QA")]
    save_test_list(app, stage, ListChange(True, True, devon, testers), member)
    credential = Credential.objects.get(app=app, stage=stage)
    Credential.objects.filter(pk=credential.pk).update(name="web server", created_by=str(member))
    envelope = Envelope("crm@acme.example", ("customer@example.com", "billing@example.com"))
    for subject in "Welcome to Acme", "Reset your password", "Your invoice 7731":
        mail = submit(app, stage, envelope, HTML.format(subject=subject).encode(), via=Source.GATEWAY, credential=credential)
    deliver()
    return mail


def _send(app: App, stage: Stage, to: str, subject: str) -> Message:
    content = TEXT.format(app=app.key, to=to, subject=subject).encode()
    return submit(app, stage, Envelope(f"{app.key}@acme.example", (to,)), content, via=Source.GATEWAY)


def _hours_ago(message: Message, hours: int) -> None:
    Message.objects.filter(pk=message.pk).update(created=timezone.now() - timedelta(hours=hours))


def _refused_sign_in(app: App, stage: Stage) -> None:
    with SmtpServer(users={"portal": "right"}) as refusing:
        configure(stage, refusing, authentication="basic", username="portal", new_secret="another")
        _send(app, stage, "customer@example.com", "Offer 2026-118")
        deliver()


def _settings_of_everyday(qa: Stage, production: Stage, development: Stage, member: Member) -> None:
    """Store settings as in real use, instead of the loopback with a different port each time."""
    own = {"server": "smtp.acme.example", "port": 587, "security": "starttls"}
    _save(qa, member, **own, authentication="basic", username="portal", new_secret="s3cret")
    tokens = {"token_url": "https://login.acme.example/oauth2/token", "client_id": "email-portal", "scopes": "mail.send"}
    secret = {"new_secret": "s3cret", "secret_ends": localdate() + timedelta(days=12)}
    _save(production, member, **own, authentication="oauth2", **tokens, **secret)
    Attempt.objects.filter(message__stage=qa).update(server="smtp.acme.example:587")
    SmtpSettings.objects.filter(stage=development).update(**own, updated_by=str(member))  # saving it would resume the stage


def _save(stage: Stage, member: Member, **values: Any) -> None:
    settings = settings_of(stage)
    for name, value in values.items():
        setattr(settings, name, value)
    save_smtp_settings(settings, member)


def _count() -> None:
    """Analytics counts what is older than a minute."""
    for model in Message, Attempt:
        for row in model.objects.filter(created__gt=timezone.now() - timedelta(minutes=2)):
            model.objects.filter(pk=row.pk).update(created=row.created - timedelta(minutes=2))
    roll_up()
