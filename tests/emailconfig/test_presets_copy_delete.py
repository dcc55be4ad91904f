"""Where the edit page may begin (a provider's preset, another stage's settings), and how a stage's settings end."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client

from emailconfig.forms import SmtpSettingsForm
from emailconfig.models import DeletedSettings, SmtpSettings
from emailconfig.presets import PRESETS, Preset
from emailconfig.services import delete_smtp_settings
from organization.exceptions import STALE
from organization.models import AuditEvent, Member, Stage
from tests.support.emailconfig import CANARY, VALUES, manager_of
from tests.support.portal import OPERATOR, configure, signed_in

VIEW, EDIT = "/management/configure/emails/qa/", "/management/configure/emails/qa/edit/"
DELETE = "/management/configure/emails/qa/delete/"
MISSING = {"username": "portal", "client_id": "portal", "password": CANARY, "client_secret": CANARY}
OF_THE_SECRET = ("password", "client_secret", "secret_ends")


def words(answer: HttpResponse) -> str:
    return answer.content.decode().replace("&#x27;", "'")


def shown(answer: HttpResponse) -> dict[str, str]:
    """What the form on the page says, as a browser would send it."""
    form = answer.context["form"]
    return {name: "" if (value := form[name].value()) is None else str(value) for name in form.fields}


def label(name: str) -> str:
    return f'for="id_{name}">{SmtpSettingsForm()[name].label}'


def each_preset() -> Any:
    return pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.key)


# Presets


@each_preset()
def test_a_preset_fills_the_form_and_says_what_to_prepare(as_administrator: Client, qa: Stage, preset: Preset) -> None:
    assert f'href="?preset={preset.key}"' in words(as_administrator.get(EDIT))
    answer = as_administrator.get(EDIT, {"preset": preset.key})
    assert shown(answer).items() >= {name: str(value) for name, value in preset.values.items()}.items()
    assert f"Prepare {preset.name}" in words(answer)
    assert all(step in words(answer) for step in preset.prepare)
    assert words(answer).count('aria-current="true"') == words(as_administrator.get(EDIT)).count('aria-current="true"') + 1
    assert not SmtpSettings.objects.exists()


@each_preset()
def test_a_preset_is_saved_once_what_is_missing_was_given(as_administrator: Client, qa: Stage, preset: Preset) -> None:
    begun = shown(as_administrator.get(EDIT, {"preset": preset.key}))
    form = {**begun, "sender_address": "no-reply@acme.example"}
    if begun["authentication"] != "none":
        incomplete = as_administrator.post(f"{EDIT}?preset={preset.key}", form)
        assert incomplete.status_code == 422
        assert "Prepare " in words(incomplete)
    token_url = form["token_url"].replace("TENANT", "acme.example")
    assert as_administrator.post(f"{EDIT}?preset={preset.key}", {**form, **MISSING, "token_url": token_url}).status_code == 302
    smtp_settings = SmtpSettings.objects.get()
    assert {name: str(getattr(smtp_settings, name)) for name in preset.values}.items() <= {**form, "token_url": token_url}.items()


def test_a_tenant_that_was_not_filled_in_is_refused_before_anybody_is_asked(as_administrator: Client, qa: Stage) -> None:
    begun = shown(as_administrator.get(EDIT, {"preset": "microsoft-365"}))
    refused = as_administrator.post(EDIT, {**begun, **MISSING, "sender_address": "no-reply@acme.example"})
    assert "Replace TENANT with your tenant ID." in words(refused)
    assert not SmtpSettings.objects.exists()


def test_the_form_marks_what_each_authentication_needs(as_administrator: Client, configured: SmtpSettings) -> None:
    """A stored password may be left empty, so it carries no mark."""
    page = words(as_administrator.get(EDIT))
    marked = {name for name in ("token_url", "client_id", "client_secret", "scopes", "password") if f"{label(name)}<span" in page}
    assert marked == {"token_url", "client_id", "client_secret"}


def test_a_preset_changes_nothing_that_it_says_nothing_about(as_administrator: Client, configured: SmtpSettings) -> None:
    answer = as_administrator.get(EDIT, {"preset": "google-workspace"})
    assert shown(answer).items() >= {"server": "smtp.gmail.com", "username": "portal", "sender_name": "Acme"}.items()
    assert CANARY not in words(answer)
    refused = as_administrator.post(EDIT, shown(answer))
    assert refused.status_code == 422
    assert "Enter the password again" in words(refused)
    assert SmtpSettings.objects.get().server == "smtp.example.com"


def test_a_preset_with_another_authentication_forgets_the_user(as_administrator: Client, configured: SmtpSettings) -> None:
    """An old username would be taken for the mailbox."""
    begun = shown(as_administrator.get(EDIT, {"preset": "microsoft-365"}))
    assert (begun["username"], begun["sender_name"]) == ("", "Acme")


@pytest.mark.parametrize("key", ["", "nonsense", "<script>", "\0"])
def test_an_unknown_preset_or_source_is_ignored(as_administrator: Client, configured: SmtpSettings, key: str) -> None:
    for name in ("preset", "copy_from"):
        answer = as_administrator.get(EDIT, {name: key})
        assert answer.status_code == 200
        assert shown(answer) == shown(as_administrator.get(EDIT))
        assert "Prepare " not in words(answer)
        assert "These are the settings of" not in words(answer)


# Copying another stage's settings


@pytest.fixture
def source(production: Stage) -> SmtpSettings:
    """Production, set up in every respect."""
    return configure(
        production,
        server="smtp.production.example",
        port=2587,
        security="tls",
        authentication="oauth2",
        username="mailbox@acme.example",
        token_url="https://login.example.com/token",
        client_id="production-client",
        scopes="send",
        client_authentication="client_secret_basic",
        sender_address="mail@acme.example",
        sender_name="Acme Mail",
        from_domains="acme.test",
        connections=7,
        mails_per_minute=30,
        secret_ends=date(2030, 1, 31),
        new_secret="production-secret",
    )


@pytest.mark.parametrize("target", ["configured", "qa"])
def test_another_stages_settings_are_copied_into_the_form_without_their_secret(
    as_administrator: Client, source: SmtpSettings, request: pytest.FixtureRequest, target: str
) -> None:
    request.getfixturevalue(target)
    before = list(SmtpSettings.objects.values())
    assert f'href="{EDIT}?copy_from=production"' in words(as_administrator.get("/management/configure/emails/production/"))
    answer = as_administrator.get(EDIT, {"copy_from": "production"})
    values = shown(answer)
    for name in set(values) - {"version", "complete", *OF_THE_SECRET}:
        assert values[name] == str(getattr(source, name)), name
    assert [values[name] for name in OF_THE_SECRET] == ["", "", ""]
    assert "These are the settings of Production, to be saved for QA" in words(answer)
    assert "isn't copied: enter the one for QA." in " ".join(words(answer).split())
    assert {"label": "SMTP port", "after": "2587"}.items() <= answer.context["changes"][1].items()
    for secret in ("production-secret", source.secret.stored, CANARY):
        assert secret not in words(answer)
    refused = as_administrator.post(f"{EDIT}?copy_from=production", values)
    assert refused.status_code == 422
    assert "Enter the client secret" in words(refused)
    assert list(SmtpSettings.objects.values()) == before
    assert as_administrator.post(EDIT, {**values, "client_secret": "qa-secret"}).status_code == 302
    copied = SmtpSettings.objects.get(stage__key="qa")
    assert (copied.server, copied.secret.reveal()) == ("smtp.production.example", "qa-secret")
    assert SmtpSettings.objects.get(stage__key="production").secret.reveal() == "production-secret"


@pytest.mark.parametrize("same_user", [True, False])
def test_a_copy_keeps_the_stages_own_secret_only_where_it_goes_to_the_same_place(
    as_administrator: Client, configured: SmtpSettings, production: Stage, same_user: bool
) -> None:
    """The source's secret is another one, and never comes along."""
    there = {"server": "smtp.example.com", "port": 587, "security": "starttls", "authentication": "basic"}
    username = "portal" if same_user else "other"
    configure(production, **there, username=username, sender_name="Copied", new_secret="production-secret")
    values = shown(as_administrator.get(EDIT, {"copy_from": "production"}))
    answer = as_administrator.post(EDIT, values)
    assert answer.status_code == (302 if same_user else 422)
    smtp_settings = SmtpSettings.objects.get(stage__key="qa")
    assert (smtp_settings.sender_name, smtp_settings.secret.reveal()) == ("Copied" if same_user else "Acme", CANARY)


def test_copying_needs_the_permission_where_it_is_copied_to(
    as_viewer: Client, qa: Stage, source: SmtpSettings, development: Stage
) -> None:
    configure(qa, sender_name="Only in QA")
    assert as_viewer.get(EDIT, {"copy_from": "production"}).status_code == 403
    manager = manager_of(qa, development)
    assert manager.get("/management/configure/emails/production/edit/?copy_from=qa").status_code == 403
    assert manager.get(EDIT, {"copy_from": "production"}).status_code == 200
    page = words(manager.get(VIEW))
    assert "/management/configure/emails/development/edit/?copy_from=qa" in page
    assert "/management/configure/emails/production/edit/" not in page


def test_a_stage_that_is_gone_is_no_target_and_one_without_settings_no_source(
    as_administrator: Client, qa: Stage, development: Stage, production: Stage
) -> None:
    configure(qa)
    Stage.objects.filter(pk=production.pk).update(archived=True)
    page = words(as_administrator.get(VIEW))
    assert "development/edit/?copy_from=qa" in page
    assert "production/edit/?copy_from=qa" not in page
    assert "qa/edit/?copy_from=qa" not in page
    for key in ("development", "qa"):
        assert "These are the settings of" not in words(as_administrator.get(EDIT, {"copy_from": key}))


# Deleting


def delete(client: Client, stage: str = "qa", **data: Any) -> HttpResponse:
    return client.post(f"/management/configure/emails/{stage}/delete/", data)


def test_deleting_asks_first_and_says_what_becomes_of_the_mail(as_administrator: Client, configured: SmtpSettings) -> None:
    assert f'href="{DELETE}"' in words(as_administrator.get(VIEW))
    asked = words(as_administrator.get(DELETE))
    assert "Delete the email configuration of QA?" in asked
    assert "smtp.example.com:587" in asked
    assert "held until you configure the stage again" in " ".join(asked.split())
    assert "Name of the stage" not in asked
    assert CANARY not in asked
    assert SmtpSettings.objects.exists()


def test_deleted_settings_are_gone_with_their_secret(
    as_administrator: Client, administrator: Member, configured: SmtpSettings
) -> None:
    answer = delete(as_administrator, version=configured.version)
    assert (answer.status_code, answer["Location"]) == (302, VIEW)
    (said,) = map(str, get_messages(answer.wsgi_request))
    assert "QA was deleted" in said
    assert "held from now on" in said
    assert not SmtpSettings.objects.exists()
    assert "Set up email for this stage" in words(as_administrator.get(VIEW))
    event = AuditEvent.objects.get(operation="Delete")
    assert (event.actor, event.stage, event.entity_name) == (administrator, configured.stage, "smtp.example.com:587")
    assert (event.before["server"], event.before["secret"], event.after) == ("smtp.example.com", "••••••••", {})
    assert event.request_id
    assert CANARY not in str(AuditEvent.objects.values_list())


def test_in_production_the_name_of_the_stage_is_typed(as_administrator: Client, source: SmtpSettings) -> None:
    assert "Type “Production” to confirm" in words(as_administrator.get("/management/configure/emails/production/delete/"))
    for typed in ({}, {"stage_name": ""}, {"stage_name": "QA"}, {"stage_name": "production"}):
        answer = delete(as_administrator, "production", version=source.version, **typed)
        assert answer.status_code == 422
        assert "Nothing was deleted yet" in words(answer)
    assert SmtpSettings.objects.exists()
    assert delete(as_administrator, "production", version=source.version, stage_name="Production").status_code == 302
    assert not SmtpSettings.objects.exists()


def test_settings_that_were_saved_meanwhile_are_not_deleted(as_administrator: Client, configured: SmtpSettings) -> None:
    expected_version = configured.version
    configure(configured.stage, **{**VALUES, "password": "", "sender_name": "Saved meanwhile"})
    answer = delete(as_administrator, version=expected_version)
    assert answer.status_code == 422
    assert STALE in words(answer)
    assert SmtpSettings.objects.get().sender_name == "Saved meanwhile"


@pytest.mark.parametrize("version", [None, "", "x", "-1", "99", "9" * 40])
def test_without_the_version_that_was_read_nothing_is_deleted(
    as_administrator: Client, configured: SmtpSettings, version: str | None
) -> None:
    assert delete(as_administrator, **({} if version is None else {"version": version})).status_code == 422
    assert SmtpSettings.objects.exists()


@pytest.mark.parametrize("who", ["viewer", "developer", "manager of another stage"])
def test_without_the_permission_here_nothing_is_deleted(
    configured: SmtpSettings, production: Stage, viewer: Member, developer: Member, who: str
) -> None:
    clients = {
        "viewer": lambda: signed_in(viewer),
        "developer": lambda: signed_in(developer),
        "manager of another stage": lambda: manager_of(production),
    }
    client = clients[who]()
    assert client.get(DELETE).status_code == 403
    assert delete(client, version=configured.version).status_code == 403
    assert DELETE not in words(client.get(VIEW))
    assert SmtpSettings.objects.exists()


def test_nobody_signed_in_deletes(client: Client, configured: SmtpSettings) -> None:
    assert delete(client, version=configured.version)["Location"].startswith("/accounts/login/")
    assert SmtpSettings.objects.exists()


def test_what_cannot_be_deleted_is_told(as_administrator: Client, qa: Stage, production: Stage) -> None:
    configure(production)
    assert as_administrator.get(DELETE.replace("/qa/", "/nowhere/")).status_code == 404
    assert as_administrator.put(DELETE).status_code == 405
    assert as_administrator.delete(DELETE).status_code == 405
    for answer in (as_administrator.get(DELETE, follow=True), as_administrator.post(DELETE, {"version": 1}, follow=True)):
        assert answer.redirect_chain == [(VIEW, 302)]
        assert "QA has no email configuration." in words(answer)
    assert SmtpSettings.objects.count() == 1


def test_a_second_click_deletes_nothing_more(as_administrator: Client, configured: SmtpSettings) -> None:
    assert delete(as_administrator, version=configured.version).status_code == 302
    assert delete(as_administrator, version=configured.version).status_code == 302
    assert AuditEvent.objects.filter(operation="Delete").count() == 1


def test_a_form_that_was_open_before_the_settings_were_deleted_does_not_bring_them_back(
    as_administrator: Client, configured: SmtpSettings
) -> None:
    open_form = shown(as_administrator.get(EDIT))
    as_administrator.post(DELETE, {"version": configured.version})
    answer = as_administrator.post(EDIT, {**open_form, "password": CANARY})
    assert answer.status_code == 422
    assert STALE.replace("'", "&#x27;")[:40] in answer.content.decode()
    assert not SmtpSettings.objects.exists()


def test_a_form_from_before_the_settings_were_deleted_and_created_again_overwrites_nothing(
    as_administrator: Client, configured: SmtpSettings
) -> None:
    open_form = shown(as_administrator.get(EDIT))
    as_administrator.post(DELETE, {"version": configured.version})
    anew = configure(configured.stage, server="smtp.example.org", port=587)
    assert anew.version == configured.version + 1
    for address in (EDIT, DELETE):
        assert as_administrator.post(address, {**open_form, "password": CANARY}).status_code == 422
    assert SmtpSettings.objects.get().server == "smtp.example.org"
    assert as_administrator.post(EDIT, {**shown(as_administrator.get(EDIT)), "sender_name": "Known"}).status_code == 302
    assert SmtpSettings.objects.get().version == anew.version + 1


def test_the_version_of_deleted_settings_comes_along_from_the_audit_trail(qa: Stage, production: Stage) -> None:
    for _ in range(2):  # the version counts on, and the newest entry counts
        settings = configure(qa)
        delete_smtp_settings(qa, OPERATOR, expected_version=settings.version)
    configure(production)
    DeletedSettings.objects.all().delete()
    import_module("emailconfig.migrations.0009_deleted_settings").read_audit_trail(apps, None)
    assert list(DeletedSettings.objects.values_list("stage", "version")) == [(qa.pk, 2)]
    assert configure(qa).version == 3
