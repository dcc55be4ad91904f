"""Each process keeps what routes its emails. The very next email in any process follows a change all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.db import OperationalError, connection
from django.db.models import F

from common.addresses import NamedAddress
from common.clock import database_now
from emailconfig.services import delete_smtp_settings, settings_of
from organization.access import Scope
from organization.credentials import create_credential, revoke_credential
from organization.members import save_member
from organization.models import AllowedAddress, App, Credential, Member, Stage
from organization.recipient_policy.changes import allow, change_policy, disallow
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import save_app, save_in_organization
from outbox.holding.pauses import pause, resume
from outbox.models import Message, Pause
from testlists.models import TestList, TestListAddress
from testlists.services import ListChange, save_test_list
from tests.support.outbox import send, set_list
from tests.support.portal import OPERATOR, ROOT, configure, environment, make_app
from tests.support.testlists import time_goes_by

pytestmark = pytest.mark.django_db(transaction=True)

CUSTOMER, TESS, UMA = "customer@example.com", "tess@acme.example", "uma@acme.example"
OPEN, LISTED, NOBODY = RecipientPolicy.AS_APPS_ASK, RecipientPolicy.LISTED_ONLY, RecipientPolicy.NOBODY

# Sends an email to CUSTOMER for each line of its input: with Django's send_mail(), or with the credential that the line names.
_APP = f"""
import django, functools, json, sys
django.setup()
from django.core.mail import send_mail
from organization.models import Credential
from outbox.exceptions import SubmissionRefused
from outbox.models import Message, Source
from outbox.submission import Envelope, submit

@functools.cache
def signed_in(number):
    return Credential.objects.select_related("app", "stage").get(pk=number)

for line in sys.stdin:
    try:
        if line.strip():
            credential = signed_in(int(line))
            envelope = Envelope("crm@acme.example", ["{CUSTOMER}"])
            submit(credential.app, credential.stage, envelope, b"Subject: Hello", via=Source.GATEWAY, credential=credential)
        else:
            send_mail("Hello", "Hi", "crm@acme.example", ["{CUSTOMER}"])
        message = Message.objects.latest("pk")
        recipients = dict(message.recipients.values_list("address", "status"))
        answer = message.hold_reason or recipients
        assert Message.objects.filter(stage=message.stage, app=message.app).count() == Message.objects.count()
    except SubmissionRefused as refused:
        answer = refused.reply
    print(json.dumps(answer), flush=True)
"""


class OtherProcess:
    """An app's process, which sends one email after the other."""

    def __init__(self) -> None:
        variables = {
            **environment(),
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "EMAIL_BACKEND": "outbox.backend.EmailBackend",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _APP], cwd=ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, credential: Credential | None = None) -> Any:
        """Who gets the email and how it stands for them, or why it is held, or why it is refused."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(credential.pk if credential else "", file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def other_process(django_db_setup: None) -> Iterator[OtherProcess]:
    """One for all tests: what it keeps of one must not count in the next."""
    app = OtherProcess()
    yield app
    app.process.communicate(timeout=60)


@pytest.fixture(autouse=True)
def _configured(crm: App, qa: Stage) -> None:
    configure(qa)


def put(policy: RecipientPolicy, **options: Any) -> None:
    stage = Stage.objects.get(key="qa")
    change_policy(stage, policy, OPERATOR, typed_stage_name=stage.name, **options)


def let_through(pattern: str, **options: Any) -> None:
    stage = Stage.objects.get(key="qa")
    allow(stage, [pattern], OPERATOR, typed_stage_name=stage.name, **options)


def in_an_hour() -> Any:
    return database_now() + timedelta(hours=1)


def put_on_list(*people: str, active: bool = True) -> None:
    set_list(App.objects.get(key="crm"), Stage.objects.get(key="qa"), *people, active=active)


def activate_for_an_hour() -> None:
    change = ListChange(True, False, [], [NamedAddress(TESS)], in_an_hour())
    save_test_list(App.objects.get(key="crm"), Stage.objects.get(key="qa"), change, OPERATOR)


def put_member_on_list() -> None:
    Member.objects.create_user(TESS, "correct-horse-battery", name="Tess")
    put_on_list(TESS)


def change_member(**values: Any) -> None:
    member = Member.objects.get(email=TESS)
    for name, value in values.items():
        setattr(member, name, value)
    save_member(member, OPERATOR)


def archive(model: type[App] | type[Stage], *, archived: bool = True) -> None:
    row = model.objects.get(key="crm" if model is App else "qa")
    row.archived = archived
    save_app(row, OPERATOR) if isinstance(row, App) else save_in_organization(row, OPERATOR)


def make_production() -> None:
    stage = Stage.objects.get(key="qa")
    stage.kind = Stage.Kind.PRODUCTION
    save_in_organization(stage, OPERATOR)


def place(*, app: bool) -> Scope:
    return Scope(App.objects.get(key="crm") if app else None, Stage.objects.get(key="qa"))


def make_app_again() -> None:
    for model in (Message, Pause, TestListAddress, TestList, App):
        model.objects.all().delete()
    make_app("crm", "Another CRM")


def delete_settings() -> None:
    stage = Stage.objects.get(key="qa")
    settings = settings_of(stage)
    assert settings is not None
    delete_smtp_settings(stage, OPERATOR, expected_version=settings.version)


def nothing() -> None:
    """Before the change everything is as in a new stage."""


class Change(NamedTuple):
    before: Callable[[], None]
    change: Callable[[], None]
    answer_before: Any
    answer_after: Any


GOES = {CUSTOMER: "queued"}
CAPTURED = {CUSTOMER: "captured"}
TO_LIST = {TESS: "queued"}
CHANGES = {
    "list activated": Change(lambda: put_on_list(TESS, active=False), lambda: put_on_list(TESS), GOES, TO_LIST),
    "list deactivated": Change(lambda: put_on_list(TESS), lambda: put_on_list(TESS, active=False), TO_LIST, GOES),
    "list expired": Change(activate_for_an_hour, lambda: time_goes_by(*crm_in_qa()), TO_LIST, "list_time_over"),
    "list expired, and now in Production": Change(
        lambda: (activate_for_an_hour(), time_goes_by(*crm_in_qa())), make_production, "list_time_over", GOES
    ),
    "list deleted": Change(nothing, lambda: TestList.objects.all().delete(), GOES, "test_list_missing"),
    "person added": Change(lambda: put_on_list(TESS), lambda: put_on_list(TESS, UMA), TO_LIST, {TESS: "queued", UMA: "queued"}),
    "person removed": Change(lambda: put_on_list(TESS, UMA), lambda: put_on_list(TESS), {TESS: "queued", UMA: "queued"}, TO_LIST),
    "entry deleted": Change(
        lambda: put_on_list(TESS), lambda: TestListAddress.objects.all().delete(), TO_LIST, "test_list_empty"
    ),
    "member's address": Change(put_member_on_list, lambda: change_member(email=UMA), TO_LIST, {UMA: "queued"}),
    "member deactivated": Change(put_member_on_list, lambda: change_member(is_active=False), TO_LIST, "test_list_empty"),
    "member deleted": Change(put_member_on_list, lambda: Member.objects.all().delete(), TO_LIST, "test_list_empty"),
    "policy narrower": Change(nothing, lambda: put(NOBODY), GOES, CAPTURED),
    "policy wider": Change(lambda: put(LISTED), lambda: put(OPEN), CAPTURED, GOES),
    "policy expired": Change(
        lambda: (put(LISTED), put(OPEN, until=in_an_hour())),
        lambda: Stage.objects.update(policy_until=database_now() - timedelta(seconds=1)),
        GOES,
        CAPTURED,
    ),
    "address allowed": Change(lambda: (put(LISTED), let_through(TESS)), lambda: let_through(CUSTOMER), CAPTURED, GOES),
    "domain allowed": Change(lambda: put(LISTED), lambda: let_through("example.com"), CAPTURED, GOES),
    "address disallowed": Change(
        lambda: (put(LISTED), let_through(TESS), let_through(CUSTOMER)),
        lambda: disallow(Stage.objects.get(key="qa"), CUSTOMER, OPERATOR),
        GOES,
        CAPTURED,
    ),
    "allowed address expired": Change(
        lambda: (put(LISTED), let_through(CUSTOMER, until=in_an_hour())),
        lambda: AllowedAddress.objects.update(until=database_now() - timedelta(seconds=1)),
        GOES,
        CAPTURED,
    ),
    "stage paused": Change(nothing, lambda: pause(place(app=False), "Maintenance", OPERATOR), GOES, "paused"),
    "app paused": Change(nothing, lambda: pause(place(app=True), "Maintenance", OPERATOR), GOES, "paused"),
    "resumed": Change(
        lambda: pause(place(app=True), "Maintenance", OPERATOR), lambda: resume(place(app=True), OPERATOR), "paused", GOES
    ),
    "settings deleted": Change(nothing, lambda: delete_settings(), GOES, "stage_not_configured"),
    "settings saved": Change(
        lambda: delete_settings(),
        lambda: configure(Stage.objects.get(key="qa")),
        "stage_not_configured",
        GOES,
    ),
    "app archived": Change(nothing, lambda: archive(App), GOES, "550 5.7.1 Customer Relations is archived and sends no mail."),
    "stage archived": Change(nothing, lambda: archive(Stage), GOES, "550 5.7.1 QA is archived and sends no mail."),
    "stage restored": Change(
        lambda: archive(Stage), lambda: archive(Stage, archived=False), "550 5.7.1 QA is archived and sends no mail.", GOES
    ),
    "app deleted and made again": Change(nothing, make_app_again, GOES, GOES),
    "app deleted": Change(
        nothing,
        lambda: (make_app_again(), TestList.objects.all().delete(), App.objects.all().delete()),
        GOES,
        "550 5.7.1 The app or the stage doesn't exist any more.",
    ),
}


def crm_in_qa() -> tuple[App, Stage]:
    return App.objects.get(key="crm"), Stage.objects.get(key="qa")


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_email_in_another_process_follows(name: str, other_process: OtherProcess) -> None:
    before, change, answer_before, answer_after = CHANGES[name]
    before()
    assert other_process.send() == answer_before
    change()
    assert other_process.send() == answer_after
    assert other_process.send() == answer_after


def let_last_day_pass(credential: Credential) -> None:
    Credential.objects.filter(pk=credential.pk).update(ends=database_now().date() - timedelta(days=1))


def test_the_next_email_in_an_open_session_is_refused_once_its_credential_has_ended(crm, qa, other_process) -> None:
    for end in (lambda credential: revoke_credential(credential, OPERATOR), Credential.delete, let_last_day_pass):
        credential = create_credential(crm, qa, OPERATOR).credential
        number = Credential.objects.get(pk=credential.pk)
        assert other_process.send(number) == GOES
        end(credential)
        assert other_process.send(number) == "535 5.7.8 The credential was revoked, or its last day has passed."


def test_what_changes_at_every_try_stores_nothing_and_says_so(crm, qa) -> None:
    """A process must not try for ever."""
    send(crm, qa)

    def change() -> None:
        Stage.objects.update(policy_version=F("policy_version") + 1)

    def change_what_was_read(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        rows = execute(sql, *arguments)
        if "testlists_testlist list" in sql:
            change()
        return rows

    change()
    with connection.execute_wrapper(change_what_was_read), pytest.raises(OperationalError, match="changed whenever"):
        send(crm, qa)
    assert Message.objects.count() == 1
