from __future__ import annotations

import re

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from delivery.backoff import record_failure
from emailconfig.connection import ConnectionFailure
from emailconfig.models import SmtpSettings
from organization.access import Scope
from organization.exceptions import STALE
from organization.models import App, AuditEvent, Member, Stage
from outbox.holding.pauses import pause
from tests.support.emailconfig import CANARY, VALUES, WITH_PASSWORD, edit_url, manager_of
from tests.support.portal import OPERATOR, configure, signed_in

CHOOSE, VIEW, EDIT = "/management/configure/emails/", "/management/configure/emails/qa/", "/management/configure/emails/qa/edit/"


@pytest.mark.parametrize("path", [CHOOSE, VIEW, EDIT])
def test_nobody_signed_in_is_sent_to_sign_in(qa: Stage, client: Client, path: str) -> None:
    for answer in (client.get(path), client.post(path, VALUES)):
        assert answer.status_code == 302
        assert answer["Location"] == f"/accounts/login/?next={path}"
    assert not SmtpSettings.objects.exists()


@pytest.mark.parametrize(
    ("method", "path"), [("post", CHOOSE), ("post", VIEW), ("delete", VIEW), ("put", EDIT), ("patch", EDIT), ("delete", EDIT)]
)
def test_other_methods_are_not_allowed(as_administrator: Client, qa: Stage, method: str, path: str) -> None:
    assert getattr(as_administrator, method)(path).status_code == 405


@pytest.mark.parametrize("path", [f"{CHOOSE}nowhere/", f"{CHOOSE}nowhere/edit/", f"{CHOOSE}QA/", f"{CHOOSE}new/"])
def test_a_stage_that_is_not_there_is_not_found(as_administrator: Client, qa: Stage, path: str) -> None:
    assert as_administrator.get(path).status_code == 404
    assert as_administrator.post(path, VALUES).status_code in (404, 405)


def test_the_stages_are_there_to_choose_from_with_what_each_is_set_to(
    as_viewer: Client, development: Stage, qa: Stage, production: Stage
) -> None:
    configure(qa, server="smtp.qa.example", port=2587)
    Stage.objects.filter(pk=production.pk).update(archived=True)
    page = as_viewer.get(CHOOSE).content.decode()
    assert page.index(">Development<") < page.index(">QA<")
    assert f"{CHOOSE}production/" not in page
    assert "smtp.qa.example:2587" in page
    assert page.count("Not configured") == 1


def test_without_any_stage_the_page_says_what_to_do(as_viewer: Client) -> None:
    assert "There is no stage yet" in as_viewer.get(CHOOSE).content.decode()


def test_a_stage_without_settings_says_so_and_offers_to_set_them_up_to_whom_may(
    as_administrator: Client, as_viewer: Client, qa: Stage
) -> None:
    assert EDIT in as_administrator.get(VIEW).content.decode()
    page = as_viewer.get(VIEW).content.decode()
    assert "Email isn&#x27;t set up for this stage" in page or "Email isn't set up for this stage" in page
    assert EDIT not in page


def test_every_member_may_read_the_settings(as_viewer: Client, configured: SmtpSettings) -> None:
    page = as_viewer.get(VIEW).content.decode()
    for shown in ("smtp.example.com", "587", "STARTTLS", "portal", "no-reply@acme.example", "Acme"):
        assert shown in page
    assert EDIT not in page


def test_a_member_who_may_edit_sees_the_button(as_administrator: Client, configured: SmtpSettings) -> None:
    assert EDIT in as_administrator.get(VIEW).content.decode()


def test_the_form_proposes_port_587_and_starttls(as_administrator: Client, qa: Stage) -> None:
    form = as_administrator.get(EDIT).context["form"]
    assert (form["port"].value(), form["security"].value(), form["authentication"].value()) == (587, "starttls", "none")


def test_saving_shows_the_settings_and_says_that_they_hold_for_all_apps(as_administrator: Client, qa: Stage) -> None:
    answer = as_administrator.post(EDIT, {**WITH_PASSWORD, "version": 0})
    assert (answer.status_code, answer["Location"]) == (302, VIEW)
    (said,) = map(str, get_messages(answer.wsgi_request))
    assert "QA was saved" in said
    assert "applies to all apps" in said
    assert "smtp.example.com" in as_administrator.get(VIEW).content.decode()


def test_bad_input_is_answered_422_with_everything_typed_but_the_password(as_administrator: Client, qa: Stage) -> None:
    typed = {**WITH_PASSWORD, "port": "25", "server": "smtp.typed.example", "sender_name": "Typed", "from_domains": "t.example"}
    answer = as_administrator.post(EDIT, {**typed, "version": 0})
    assert answer.status_code == 422
    page = answer.content.decode()
    for kept in ('value="25"', "smtp.typed.example", 'value="Typed"', "t.example", 'value="portal"'):
        assert kept in page
    assert "often targeted for spam" in page
    assert CANARY not in page


def test_what_is_typed_is_shown_as_text(as_administrator: Client, qa: Stage) -> None:
    name = "<script>alert(1)</script>\"'"
    refused = as_administrator.post(EDIT, {**VALUES, "sender_name": name, "port": "25", "version": 0})
    as_administrator.post(EDIT, {**VALUES, "sender_name": name, "version": 0})
    for page in (refused, as_administrator.get(VIEW), as_administrator.get(EDIT), as_administrator.get(CHOOSE)):
        assert "<script>alert" not in page.content.decode()
    assert SmtpSettings.objects.get().sender_name == name


def test_a_stale_save_is_refused_and_overwrites_nothing(as_administrator: Client, configured: SmtpSettings) -> None:
    expected_version = configured.version
    configure(configured.stage, **{**VALUES, "password": "", "sender_name": "Saved meanwhile"})
    events = AuditEvent.objects.count()
    answer = as_administrator.post(EDIT, {**WITH_PASSWORD, "sender_name": "Mine", "version": expected_version})
    assert answer.status_code == 422
    assert STALE in answer.context["form"].non_field_errors()
    assert 'value="Mine"' in answer.content.decode()
    assert SmtpSettings.objects.get().sender_name == "Saved meanwhile"
    assert AuditEvent.objects.count() == events


@pytest.mark.parametrize("version", ["", "x", "-1", "99", "9" * 40])
def test_a_save_without_the_version_it_was_read_at_is_refused(
    as_administrator: Client, configured: SmtpSettings, version: str
) -> None:
    assert as_administrator.post(EDIT, {**WITH_PASSWORD, "sender_name": "Mine", "version": version}).status_code == 422
    assert SmtpSettings.objects.get().sender_name == "Acme"


def test_two_who_set_a_stage_up_at_once_do_not_overwrite_each_other(as_administrator: Client, qa: Stage) -> None:
    assert as_administrator.post(EDIT, {**VALUES, "sender_name": "First", "version": 0}).status_code == 302
    second = as_administrator.post(EDIT, {**VALUES, "sender_name": "Second", "version": 0})
    assert second.status_code == 422
    assert f'<a href="{EDIT}">Open the current values</a>' in second.content.decode()
    assert SmtpSettings.objects.get().sender_name == "First"


def test_a_stale_save_in_admin_is_refused_on_the_same_page(as_administrator: Client, configured: SmtpSettings) -> None:
    change = f"/admin/emailconfig/smtpsettings/{configured.pk}/change/"
    answer = as_administrator.post(change, {**WITH_PASSWORD, "sender_name": "Mine", "version": 7}, follow=True)
    assert answer.redirect_chain == [(change, 302)]
    assert "saved a change after you opened this page" in answer.content.decode()
    assert SmtpSettings.objects.get().sender_name == "Acme"


def test_the_audit_trail_names_the_member_the_stage_and_the_request(
    as_administrator: Client, administrator: Member, qa: Stage
) -> None:
    as_administrator.post(EDIT, {**VALUES, "version": 0})
    event = AuditEvent.objects.get(entity="SMTP settings")
    assert (event.operation, event.actor, event.stage, event.entity_name) == ("Create", administrator, qa, "smtp.example.com:587")
    assert event.actor_name == "Ada Admin <ada.admin@acme.example>"
    assert event.request_id


WRITE_ENTRY_POINTS = [EDIT, "/admin/emailconfig/smtpsettings/add/", "/admin/emailconfig/smtpsettings/{}/change/"]


@pytest.mark.parametrize("entry_point", WRITE_ENTRY_POINTS)
@pytest.mark.parametrize("who", ["viewer", "developer", "manager of another stage", "manager for one app alone"])
def test_without_manage_email_configurations_here_every_write_is_answered_403(
    qa: Stage, production: Stage, crm: App, viewer: Member, developer: Member, entry_point: str, who: str
) -> None:
    smtp_settings = configure(production if "add" in entry_point else qa, sender_name="Untouched")
    clients = {
        "viewer": lambda: signed_in(viewer),
        "developer": lambda: signed_in(developer),
        "manager of another stage": lambda: manager_of(production),
        "manager for one app alone": lambda: manager_of(app=crm),
    }
    client = clients[who]()
    Member.objects.update(is_staff=True)
    answer = client.post(
        entry_point.format(smtp_settings.pk), {**VALUES, "sender_name": "Mine", "stage": qa.pk, "version": smtp_settings.version}
    )
    assert answer.status_code == 403
    assert not SmtpSettings.objects.filter(sender_name="Mine").exists()


@pytest.mark.parametrize("limited_to_this_stage", [False, True])
def test_with_it_the_same_writes_are_stored(qa: Stage, limited_to_this_stage: bool) -> None:
    client = manager_of(*([qa] if limited_to_this_stage else []), is_staff=True)
    assert client.post(EDIT, {**VALUES, "version": 0}).status_code == 302
    change = f"/admin/emailconfig/smtpsettings/{SmtpSettings.objects.get().pk}/change/"
    assert client.post(change, {**VALUES, "sender_name": "Mine", "version": 1}).status_code == 302
    assert SmtpSettings.objects.get().sender_name == "Mine"


def test_the_edit_page_too_is_for_those_who_may_edit(as_viewer: Client, as_developer: Client, qa: Stage) -> None:
    for client in (as_viewer, as_developer):
        answer = client.get(EDIT)
        assert answer.status_code == 403
        assert "Manage Email Configurations" in answer.content.decode()


def test_settings_are_never_deleted_in_admin(as_administrator: Client, configured: SmtpSettings) -> None:
    assert as_administrator.post(f"/admin/emailconfig/smtpsettings/{configured.pk}/delete/", {"post": "yes"}).status_code == 403
    assert SmtpSettings.objects.exists()


def test_the_stage_of_settings_cannot_be_changed_in_admin(
    as_administrator: Client, configured: SmtpSettings, production: Stage
) -> None:
    change = f"/admin/emailconfig/smtpsettings/{configured.pk}/change/"
    values = {**WITH_PASSWORD, "password": "", "sender_name": "Mine", "version": 1, "stage": production.pk}
    assert as_administrator.post(change, values).status_code == 302
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.stage, smtp_settings.sender_name) == (configured.stage, "Mine")


def test_a_form_that_was_sent_without_its_cookie_is_refused(administrator: Member, qa: Stage) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(administrator)
    answer = client.post(edit_url(qa), {**VALUES, "version": 0})
    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()


def test_a_sender_whose_domain_has_no_dot_is_asked_about_once(as_administrator: Client, qa: Stage) -> None:
    values = {**VALUES, "sender_address": "no-reply@acme", "version": 0}
    asked = as_administrator.post(EDIT, values)
    assert asked.status_code == 422
    assert "Is the domain complete? It has no dot: no-reply@acme." in asked.content.decode()
    assert 'name="complete"' in asked.content.decode()
    assert not SmtpSettings.objects.exists()
    confirmed = as_administrator.post(EDIT, {**values, "complete": "on"})
    assert confirmed.status_code == 302, confirmed.context["form"].errors
    version = SmtpSettings.objects.get().version
    assert as_administrator.post(EDIT, {**values, "sender_name": "Acme", "version": version}).status_code == 302


@pytest.mark.parametrize(("server", "is_warned"), [("smtp.example.com", True), ("127.0.0.1", False), ("localhost", False)])
def test_a_remote_server_without_encryption_is_warned_about(
    as_viewer: Client, as_administrator: Client, qa: Stage, server: str, is_warned: bool
) -> None:
    configure(qa, server=server, security="none")
    warning = "Without encryption, anyone on the network"
    assert (warning in as_viewer.get(VIEW).content.decode()) is is_warned
    assert warning in as_administrator.get(EDIT).content.decode()  # beside the choice, while it is chosen
    configure(qa, server=server, security="starttls")
    assert warning not in as_viewer.get(VIEW).content.decode()


@pytest.mark.parametrize("path", [CHOOSE, "/apps/crm/configuration/emails/qa/", "/"])
@pytest.mark.parametrize("paused_by", ["a person", "the server"])
def test_configured_is_never_green_beside_paused(as_viewer: Client, crm: App, qa: Stage, path: str, paused_by: str) -> None:
    configure(qa)
    if paused_by == "a person":
        pause(Scope(stage=qa), "The relay moves", OPERATOR)
    else:
        record_failure(qa.pk, ConnectionFailure("AUTH", "auth_refused"))
    page = as_viewer.get(path).content.decode()
    badges = re.findall(r'<span class="([^"]*)">(?:<svg.*?</svg>)?\s*([^<]*?)\s*</span>', page, re.DOTALL)
    shown = {words: kind for kind, words in badges if "badge" in kind.split()}
    assert "badge--warning" in shown["Paused"] or "badge--danger" in shown["Paused"]
    assert "badge--success" not in shown.get("Configured", "")
