"""The entry points that change SMTP settings, each as one function that returns what was refused."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from emailconfig.forms import SmtpSettingsForm
from emailconfig.models import SmtpSettings
from emailconfig.services import save_smtp_settings, settings_of
from organization.builtin_roles import ADMINISTRATOR
from organization.models import App, Member, Role, Stage
from organization.permissions import Permission
from tests.support.portal import OPERATOR, configure, make_member, signed_in

CANARY = "kanarienvogel-9d1f4c"
VALUES: dict[str, Any] = {
    "server": "smtp.example.com",
    "port": "587",
    "security": "starttls",
    "ca_certificate": "",
    "authentication": "none",
    "username": "",
    "password": "",
    "token_url": "",
    "client_id": "",
    "client_secret": "",
    "scopes": "",
    "client_authentication": "client_secret_post",
    "sender_address": "no-reply@acme.example",
    "sender_name": "Acme",
    "from_domains": "",
    "connections": "4",
    "mails_per_minute": "0",
    "recipients_per_transaction": "100",
    "ehlo_name": "",
}
WITH_PASSWORD = {**VALUES, "authentication": "basic", "username": "portal", "password": CANARY}
WITH_CLIENT_SECRET = {
    **VALUES,
    "authentication": "oauth2",
    "username": "mailbox@acme.example",
    "token_url": "https://login.example.com/tenant/token",
    "client_id": "portal",
    "client_secret": CANARY,
    "scopes": "https://smtp.example.com/.default",
}
_SECRETS = ("password", "client_secret")

EntryPoint = Callable[..., str]  # (stage, **values) -> what was said against them; empty when they were saved


def edit_url(stage: Stage) -> str:
    return f"/management/configure/emails/{stage.key}/edit/"


def version_of(stage: Stage) -> int:
    settings = settings_of(stage)
    return settings.version if settings else 0


def by_browser(stage: Stage, **values: Any) -> str:
    answer = _administrator().post(edit_url(stage), {**VALUES, "version": version_of(stage), **values})
    if answer.status_code == 302:
        return ""
    assert answer.status_code == 422
    return _errors_of(answer.context["form"])


def by_admin(stage: Stage, **values: Any) -> str:
    settings = settings_of(stage)
    url = f"/admin/emailconfig/smtpsettings/{settings.pk}/change/" if settings else "/admin/emailconfig/smtpsettings/add/"
    answer = _administrator().post(url, {**VALUES, "stage": stage.pk, "version": version_of(stage), **values})
    if answer.status_code == 302:
        return ""
    assert answer.status_code == 200
    return _errors_of(answer.context["adminform"].form)


def by_command(stage: Stage, **values: Any) -> str:
    values = {**VALUES, **values}
    secrets = {name: secret for name in _SECRETS if (secret := values.pop(name))}
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in values.items() if name not in ("ca_certificate", "version")
    ]
    options += [f"--{name.replace('_', '-')}-stdin" for name in secrets]
    if values["ca_certificate"]:
        file = Path(tempfile.mkdtemp()) / "ca.pem"
        file.write_text(values["ca_certificate"])
        options += [f"--ca-file={file}"]
    with patch.object(sys, "stdin", io.StringIO("".join(f"{secret}\n" for secret in secrets.values()))):
        try:
            call_command("set_smtp", stage.key, *options, stdout=io.StringIO())
        except CommandError as error:
            return str(error)
    return ""


def by_service(stage: Stage, **values: Any) -> str:
    values = {**VALUES, **values}
    settings = settings_of(stage) or SmtpSettings(stage=stage)
    secrets = {name: values.pop(name) for name in _SECRETS}
    settings.new_secret = secrets["client_secret" if values["authentication"] == "oauth2" else "password"]
    for name, value in values.items():
        setattr(settings, name, value)
    try:
        save_smtp_settings(settings, OPERATOR)
    except ValidationError as error:
        return " ".join(f"{field}: {' '.join(errors)}" for field, errors in error.message_dict.items())
    return ""


ENTRY_POINTS = {"browser": by_browser, "admin": by_admin, "command": by_command, "service": by_service}


@pytest.fixture(params=ENTRY_POINTS)
def entry_point(request: pytest.FixtureRequest) -> EntryPoint:
    return ENTRY_POINTS[request.param]


@pytest.fixture
def configured(qa: Stage) -> SmtpSettings:
    """QA with a password stored for smtp.example.com."""
    return configure(qa, **{**_typed(WITH_PASSWORD), "new_secret": CANARY})


@pytest.fixture
def with_tokens(qa: Stage) -> SmtpSettings:
    """QA with a client secret stored for login.example.com."""
    return configure(qa, **{**_typed(WITH_CLIENT_SECRET), "new_secret": CANARY})


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in _SECRETS}


def _administrator() -> Client:
    member = Member.objects.filter(email="entry@acme.example").first()
    return signed_in(member or make_member("Entry", Role.objects.get(name=ADMINISTRATOR), is_staff=True))


def _errors_of(form: SmtpSettingsForm) -> str:
    return " ".join(f"{field}: {' '.join(errors)}" for field, errors in form.errors.items())


def manager_of(*stages: Stage, app: App | None = None, **fields: Any) -> Client:
    """A member with the permission Manage Email Configurations in these stages, or in all if none is named."""
    role = Role.objects.create(name="Mail team", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value])
    role.stages.set(stages)
    return signed_in(make_member("Max Manager", role, app, **fields))
