"""What an operator runs: checks, the demo's seed, migrations there and back."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from ipaddress import ip_network

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings

from emailconfig.models import SmtpSettings
from organization.credentials import authenticate
from organization.models import App, Credential, Member, Role, RoleGrant, Stage
from portal import demo
from portal.checks import check_encryption_keys, check_gateway, check_proxies, check_published_keys, check_retention
from testlists.models import TestList
from testlists.services import Wanted, save_test_list
from tests.support.portal import OPERATOR, ROOT, environment

KEY = Fernet.generate_key().decode()


def identities() -> set[str]:
    findings = (
        *(*check_published_keys(), *check_encryption_keys(), *check_gateway(), *check_retention()),
        *check_proxies(),
    )
    return {str(finding.id) for finding in findings}


@pytest.fixture
def production_settings(settings: Settings) -> Settings:
    settings.SECRET_KEY = "x" * 60
    settings.ENCRYPTION_KEYS = [KEY]
    settings.GATEWAY_HOST, settings.GATEWAY_TLS_CERT, settings.GATEWAY_TLS_KEY = "0.0.0.0", "/cert.pem", "/key.pem"
    return settings


def test_nothing_is_found_when_production_sets_what_it_must(production_settings: Settings) -> None:
    assert identities() == set()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"SECRET_KEY": "demo-only-not-a-secret-" * 3}, {"portal.E001"}),
        ({"ENCRYPTION_KEYS": ["ZGVtby1vbmx5LWtleS1ub3QtZm9yLXByb2R1Y3Rpb24="]}, {"portal.E002"}),
        ({"ENCRYPTION_KEYS": [KEY, "ZGVtby1vbmx5LWtleS1ub3QtZm9yLXByb2R1Y3Rpb24="]}, {"portal.E002"}),
        ({"ENCRYPTION_KEYS": []}, {"portal.E003"}),
        ({"ENCRYPTION_KEYS": ["short"]}, {"portal.E003"}),
        ({"ENCRYPTION_KEYS": [KEY, "schlüssel"]}, {"portal.E003"}),
        ({"ENCRYPTION_KEYS": [KEY, Fernet.generate_key().decode()]}, set()),
        ({"CONTENT_RETENTION_DAYS": -1}, {"portal.E006"}),
        ({"BEHIND_PROXY": True, "TRUSTED_PROXIES": [ip_network("0.0.0.0/0"), "unix"]}, {"portal.W001"}),
        ({"BEHIND_PROXY": True, "TRUSTED_PROXIES": [ip_network("10.0.0.1")]}, set()),
        ({"LOG_RETENTION_DAYS": 0}, {"portal.E006"}),
        ({"GATEWAY_TLS_KEY": ""}, {"portal.E004"}),
        ({"GATEWAY_TLS_CERT": ""}, {"portal.E004"}),
        ({"GATEWAY_TLS_CERT": "", "GATEWAY_TLS_KEY": ""}, {"portal.E005"}),
        ({"GATEWAY_TLS_CERT": "", "GATEWAY_TLS_KEY": "", "GATEWAY_HOST": "127.0.0.1"}, set()),
        ({"GATEWAY_TLS_CERT": "", "GATEWAY_TLS_KEY": "", "GATEWAY_HOST": "localhost"}, set()),
    ],
)
def test_each_thing_that_is_missing_is_named(production_settings: Settings, values: dict[str, object], found: set[str]) -> None:
    for name, value in values.items():
        setattr(production_settings, name, value)
    assert identities() == found


def test_every_finding_says_what_to_do(settings: Settings) -> None:
    settings.ENCRYPTION_KEYS = []
    settings.GATEWAY_HOST = "0.0.0.0"
    assert all(finding.hint for finding in (*check_published_keys(), *check_encryption_keys(), *check_gateway()))


def test_check_deploy_runs_them(settings: Settings) -> None:
    with pytest.raises(Exception, match=r"portal\.E001"):
        call_command("check", "--deploy", stdout=StringIO(), stderr=StringIO())


def counted() -> list[int]:
    return [model.objects.count() for model in (Member, Role, RoleGrant, Stage, App, SmtpSettings, TestList)]


def test_the_demo_is_seeded_once_however_often_it_starts(client: Client, db: None) -> None:
    first = demo.seed_demo(OPERATOR, 2526)
    before = counted()
    second = demo.seed_demo(OPERATOR, 2526)
    assert counted() == before
    assert Credential.objects.filter(revoked_at=None).count() == 1
    assert authenticate(first.credential.username, first.password) is None
    assert authenticate(second.credential.username, second.password) is not None
    for sign_in in demo.SIGN_INS:
        assert Client().post("/accounts/login/", {"username": sign_in.email, "password": demo.PASSWORD}).status_code == 302


def test_the_demo_keeps_what_people_changed(db: None) -> None:
    demo.seed_demo(OPERATOR, 2526)
    SmtpSettings.objects.update(server="smtp.changed.example")
    App.objects.filter(key="crm").update(name="Changed")
    devons = TestList.objects.get(app__key="crm", stage__key="development")
    save_test_list(devons.app, devons.stage, Wanted(False, True, [], devons.people()), OPERATOR)
    demo.seed_demo(OPERATOR, 9999)
    assert set(SmtpSettings.objects.values_list("server", flat=True)) == {"smtp.changed.example"}
    assert App.objects.get(key="crm").name == "Changed"
    assert not TestList.objects.filter(active=True).exists()


def test_the_demos_members_may_do_what_they_are_there_to_show(db: None) -> None:
    from organization.access import EVERYWHERE, Scope
    from organization.permissions import Permission

    demo.seed_demo(OPERATOR, 2526)
    admin, developer, viewer = (Member.objects.get(email=sign_in.email) for sign_in in demo.SIGN_INS)
    crm, shop = App.objects.get(key="crm"), App.objects.get(key="shop")
    configurations, assets = Permission.MANAGE_EMAIL_CONFIGURATIONS.path, Permission.EDIT_ASSET_CONFIGURATIONS.path
    assert admin.has_perm(configurations, EVERYWHERE)
    assert developer.has_perm(assets, Scope(app=crm))
    assert not developer.has_perm(assets, Scope(app=shop))
    assert not developer.has_perm_anywhere(configurations)
    assert not viewer.has_perm_anywhere(assets)


def test_the_demo_with_its_published_passwords_is_made_in_debug_only(db: None, settings: Settings) -> None:
    with pytest.raises(CommandError, match="only with DEBUG=true"):
        call_command("seed_demo")
    assert not Member.objects.exists()
    settings.DEBUG = True
    out = StringIO()
    call_command("seed_demo", "--smtp-port", "2626", stdout=out)
    assert demo.PASSWORD in out.getvalue()
    assert "127.0.0.1, SMTP port 2626" in out.getvalue()
    assert Credential.objects.get(revoked_at=None).username in out.getvalue()


def test_the_minimum_is_stages_and_one_app_nothing_else(db: None) -> None:
    for _ in range(2):
        call_command("seed_demo", "--minimal")
    assert list(Stage.objects.values_list("key", flat=True)) == ["development", "qa", "production"]
    assert list(App.objects.values_list("key", flat=True)) == ["crm"]
    assert not Member.objects.exists()
    assert not SmtpSettings.objects.exists()
    assert not Credential.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_every_migration_goes_back_and_forth() -> None:
    try:
        for app in ("outbox", "testlists", "emailconfig", "organization"):
            call_command("migrate", app, "zero", verbosity=0)
        tables = connection.introspection.table_names()
        assert not [table for table in tables if table.startswith(("outbox_", "testlists_", "emailconfig_", "organization_"))]
    finally:
        call_command("migrate", verbosity=0)
    assert Role.objects.filter(built_in=True).count() == 2


@pytest.mark.requires_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("said", "threshold"), [("", "5"), ("&prepare_threshold=None", "None")])
def test_statements_are_prepared_unless_the_url_says_that_a_pooler_cant_keep_them(said: str, threshold: str) -> None:
    command = "from django.db import connection; connection.ensure_connection(); print(connection.connection.prepare_threshold)"
    url = environment()["DATABASE_URL"] + said
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v0", "-c", command],
        cwd=ROOT, env={**environment(), "DATABASE_URL": url}, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == threshold
