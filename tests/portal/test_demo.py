"""The organization of the demo, and the minimum without it."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from emailconfig.models import SmtpSettings
from organization.credentials import authenticate
from organization.models import App, Credential, Member, Role, RoleGrant, Stage
from portal.demo import organization
from testlists.models import TestList
from testlists.services import ListChange, save_test_list
from tests.support.portal import OPERATOR


def counted() -> list[int]:
    return [model.objects.count() for model in (Member, Role, RoleGrant, Stage, App, SmtpSettings, TestList)]


def test_the_demo_is_seeded_once_however_often_it_starts(client: Client, db: None) -> None:
    first = organization.seed_demo(OPERATOR, 2526)
    before = counted()
    second = organization.seed_demo(OPERATOR, 2526)
    assert counted() == before
    assert Credential.objects.filter(revoked_at=None).count() == 1
    assert authenticate(first.credential.username, first.password, "127.0.0.1") is None
    assert authenticate(second.credential.username, second.password, "127.0.0.1") is not None
    for sign_in in organization.SIGN_INS:
        assert (
            Client().post("/accounts/login/", {"username": sign_in.email, "password": organization.PASSWORD}).status_code == 302
        )


def test_the_demo_keeps_what_people_changed(db: None) -> None:
    organization.seed_demo(OPERATOR, 2526)
    SmtpSettings.objects.update(server="smtp.changed.example")
    App.objects.filter(key="crm").update(name="Changed")
    devons = TestList.objects.get(app__key="crm", stage__key="development")
    save_test_list(devons.app, devons.stage, ListChange(False, True, [], devons.people()), OPERATOR)
    organization.seed_demo(OPERATOR, 9999)
    assert set(SmtpSettings.objects.values_list("server", flat=True)) == {"smtp.changed.example"}
    assert App.objects.get(key="crm").name == "Changed"
    assert not TestList.objects.filter(active=True).exists()


def test_the_demos_members_may_do_what_they_are_there_to_show(db: None) -> None:
    from organization.access import EVERYWHERE, Scope
    from organization.permissions import Permission

    organization.seed_demo(OPERATOR, 2526)
    admin, developer, viewer = (Member.objects.get(email=sign_in.email) for sign_in in organization.SIGN_INS)
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
    assert organization.PASSWORD in out.getvalue()
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
