"""The portal's own emails reach the member they are for, through every policy but one, and nobody else reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from accounts.checks import check_portal_stage
from accounts.invitations.services import invite
from accounts.own_mail.contents import OwnMessage
from organization.credentials import create_credential
from organization.models import App, Member, Stage
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from organization.services import save_app, save_in_organization
from outbox.actions import allowed_actions, resend, resend_to_real_recipients, send_to_me
from outbox.exceptions import SubmissionRefused
from outbox.models import Content, Message, Source, Status
from outbox.submission import Envelope, submit
from portal.housekeeping import own_mail_waits, run_job
from testlists.models import TestList
from testlists.services import ListChange, save_test_list
from tests.support.accounts import own_messages
from tests.support.outbox import deliver, send, set_list
from tests.support.pages import words
from tests.support.portal import OPERATOR, configure, mail
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def portal_stage(qa: Stage, smtp_server: SmtpServer, settings: Settings) -> Stage:
    configure(qa, smtp_server)
    settings.PORTAL_STAGE = qa.key
    return qa


def invited(name: str = "Ivo") -> Member:
    return invite(Member(email=f"{name.lower()}@elsewhere.example", name=name), OPERATOR).member


def built_in_app() -> App:
    return App.objects.get(key=App.BUILT_IN_KEY)


def nothing(stage: Stage) -> None:
    """As apps ask."""


def close(stage: Stage) -> None:
    change_policy(stage, RecipientPolicy.LISTED_ONLY, OPERATOR)


@pytest.mark.parametrize("change", [nothing, close])
@pytest.mark.parametrize("after_acceptance", [True, False])
def test_it_reaches_the_member_and_its_content_goes(
    portal_stage: Stage, smtp_server: SmtpServer, crm: App, change: Callable[[Stage], None], after_acceptance: bool
) -> None:
    set_list(crm, portal_stage, "ana@acme.example")
    if not after_acceptance:
        change(portal_stage)
    ivo = invited()
    if after_acceptance:
        change(portal_stage)
    assert own_mail_waits()
    run_job("own-mail")
    assert OwnMessage.objects.exists()  # it isn't finished yet
    deliver()
    (arrived,) = smtp_server.arrived
    assert arrived.recipients == [ivo.email]
    assert (arrived.mail["To"], arrived.mail["Auto-Submitted"]) == (ivo.email, "auto-generated")
    assert "X-Original" not in str(arrived.mail.keys())
    assert b"from _portal by" in arrived.content
    assert own_messages(ivo)[0].status == Status.SENT
    run_job("own-mail")
    assert not Content.objects.exists()
    assert not own_mail_waits()


def test_a_stage_that_captures_everything_captures_it_also_when_it_is_queued(
    portal_stage: Stage, smtp_server: SmtpServer
) -> None:
    ivo = invited()
    change_policy(portal_stage, RecipientPolicy.NOBODY, OPERATOR)
    deliver()
    assert smtp_server.arrived == []
    assert own_messages(ivo)[0].status == Status.CAPTURED
    run_job("own-mail")
    assert not Content.objects.exists()
    assert invited("Una").account_links.exists()
    assert Message.objects.count() == 1  # no email was made of this one


def test_nobody_is_shown_what_it_says(portal_stage: Stage, as_administrator: Client) -> None:
    message = own_messages(invited())[0]
    log = f"/monitor/email-log/qa/{message.pk}/"
    page = words(as_administrator.get(log))
    assert "is never shown" in page and "ivo@elsewhere.example" in page
    for below in ("html/", "source/", "attachments/0/"):
        assert as_administrator.get(log + below).status_code == 404
    for query in ("?show=source", "?show=headers", "?show=text"):
        assert "Choose your password" not in words(as_administrator.get(log + query))
    export = b"".join(as_administrator.get("/monitor/email-log/qa/export/").streaming_content).decode()  # type: ignore[attr-defined]
    assert "invitation" not in export


@pytest.mark.parametrize("act", [resend, resend_to_real_recipients, send_to_me])
@pytest.mark.parametrize("captured", [True, False])
def test_nobody_sends_it_again(
    portal_stage: Stage, administrator: Member, act: Callable[[Message, Member], object], captured: bool
) -> None:
    message = own_messages(invited())[0]
    if captured:
        change_policy(portal_stage, RecipientPolicy.NOBODY, OPERATOR)
    deliver()
    if captured:
        change_policy(portal_stage, RecipientPolicy.AS_APPS_ASK, OPERATOR, typed_stage_name=portal_stage.name)
    message.refresh_from_db()
    allowed = allowed_actions(message, administrator)
    assert not (allowed.resend or allowed.resend_to_real_recipients or allowed.send_to_me or allowed.send_to_test_list)
    with pytest.raises(ValidationError, match="never sent again"):
        act(message, administrator)
    assert Message.objects.count() == 1


def test_the_app_has_nothing_to_configure(portal_stage: Stage, production: Stage, as_administrator: Client) -> None:
    invited()
    app = built_in_app()
    save_in_organization(Stage(key="staging", name="Staging"), OPERATOR)
    assert not TestList.objects.filter(app=app).exists()
    app.archived = True
    attempts: list[Callable[[], object]] = [
        lambda: save_app(app, OPERATOR),
        lambda: create_credential(app, portal_stage, OPERATOR),
        lambda: save_test_list(app, portal_stage, ListChange(False, False, [], []), OPERATOR),
    ]
    for attempt in attempts:
        with pytest.raises(ValidationError, match="built in"):
            attempt()
    with pytest.raises(CommandError, match="portal's own"):
        call_command("explain_route", "_portal", "qa", "--to", "ana@acme.example")
    with pytest.raises(ValidationError):  # no app of the organization's can take its key
        save_app(App(key="_portal", name="Mine"), OPERATOR)
    assert "_portal" not in words(as_administrator.get("/apps/"))
    page = "/apps/_portal/configuration/emails/qa/"
    assert as_administrator.get(page)["Location"] == "/monitor/email-log/qa/?app=_portal"
    for below in ("edit/", "route/", "preview/"):
        assert as_administrator.get(page + below).status_code in (404, 405)
    assert as_administrator.get("/apps/_portal/edit/").status_code == 404
    assert "ivo@elsewhere.example" in words(as_administrator.get("/monitor/email-log/qa/?app=_portal"))


def test_nobody_else_submits_for_it_and_it_submits_for_nobody_else(portal_stage: Stage, crm: App) -> None:
    invited()
    with pytest.raises(SubmissionRefused, match="the portal's own"):
        send(built_in_app(), portal_stage)
    with pytest.raises(SubmissionRefused, match="the portal's own"):
        submit(crm, portal_stage, Envelope("crm@acme.example", ["ana@example.com"]), mail(), via=Source.OWN)


def test_a_check_says_why_the_portal_stage_sends_nothing(portal_stage: Stage, settings: Settings) -> None:
    assert check_portal_stage(["default"]) == []
    settings.PORTAL_STAGE = "mars"
    (warning,) = check_portal_stage(["default"])
    assert "no such stage" in warning.msg
    settings.PORTAL_STAGE = ""
    assert check_portal_stage(["default"]) == []
