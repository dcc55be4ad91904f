"""The pages of organization roles, and the permissions that they are made of."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.test import Client

from organization.builtin_roles import ADMINISTRATOR
from organization.govern.services import delete_role, save_role
from organization.models import App, AuditEvent, Role, Stage
from organization.permissions import CATEGORIES, FORMER_CODES, Permission, with_needed
from organization.services import save_app
from tests.support.pages import words
from tests.support.portal import OPERATOR, make_member

ROLES = "/management/govern/roles/"
TYPED = {"name": "Tester", "permissions": [Permission.RESEND_TO_REAL_RECIPIENTS.value]}
migration = import_module("organization.migrations.0015_named_permissions_and_grants_for_stages")


def test_every_permission_is_in_one_category() -> None:
    assert sorted(permission for category in CATEGORIES for permission in category.permissions) == sorted(Permission)
    assert all(permission.allows for permission in Permission)


def test_a_permission_comes_with_what_it_needs() -> None:
    assert with_needed(["resend_to_real_recipients", "unknown"]) == [
        "access_asset_logs",
        "resend_mail",
        "resend_to_real_recipients",
        "unknown",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["manage_apps", "resend_mail"], ["create_apps", "change_apps", "archive_apps", "resend_mail"]),
        (
            ["manage_organization"],
            ["view_stages", "manage_stages", "view_members", "manage_members", "manage_roles", "view_audit_trail"],
        ),
        (["access_user_information"], ["access_user_information"]),  # no role gets more than it had
    ],
)
def test_existing_roles_keep_their_rights_on_this_release_and_on_the_way_back(db: None, old: list[str], new: list[str]) -> None:
    role = Role.objects.create(name="Old", permissions=old)
    migration.add_named_permissions(apps, connection.schema_editor())
    role.refresh_from_db()
    assert sorted(role.known_permissions) == sorted(new)
    assert set(old) <= set(role.permissions)  # what the release before reads
    migration.remove_named_permissions(apps, connection.schema_editor())
    role.refresh_from_db()
    assert role.permissions == old


def test_a_role_that_lost_a_part_is_not_whole_for_the_release_before(db: None) -> None:
    role = save_role(Role(name="Apps", permissions=["create_apps", "archive_apps"]), [], OPERATOR)
    assert "manage_apps" in role.permissions
    role.permissions.remove("archive_apps")
    assert save_role(role, [], OPERATOR).permissions == ["create_apps", "change_apps"]
    assert set(FORMER_CODES["manage_organization"]) == set(migration._SPLIT["manage_organization"])


def test_a_role_is_created_with_what_its_permissions_need_and_shown(as_administrator: Client, qa: Stage) -> None:
    answer = as_administrator.post(ROLES + "new/", {**TYPED, "stages": [qa.pk]}, follow=True)
    role = Role.objects.get(name="Tester")
    assert role.permissions == ["access_asset_logs", "resend_mail", "resend_to_real_recipients"]
    assert list(role.stages.all()) == [qa]
    assert "The role Tester was saved." in words(answer)
    assert 'Resend to real recipients<span class="visually-hidden">: yes</span>' in words(answer)
    assert 'View audit trail<span class="visually-hidden">: no</span>' in words(answer)
    assert AuditEvent.objects.get(operation="Create").after["stages"] == ["QA"]
    assert [role.name for role in as_administrator.get(ROLES + "?q=test").context["page"]] == ["Tester"]


@pytest.mark.parametrize(
    "bad", [{"name": ""}, {"name": "a\r\nb"}, {"permissions": ["fly"]}, {"stages": ["x"]}, {"stages": ["99"]}]
)
def test_a_bad_role_is_answered_422(as_administrator: Client, bad: dict[str, Any]) -> None:
    answer = as_administrator.post(ROLES + "new/", {**TYPED, **bad})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == set(bad)
    assert not Role.objects.filter(built_in=False).exists()


def test_a_role_is_edited_where_it_says_how_many_have_it(as_administrator: Client) -> None:
    role = Role.objects.create(name="Tester", permissions=["access_asset_logs"])
    make_member("Mia", role)
    assert "1 member has this role." in words(as_administrator.get(f"{ROLES}{role.pk}/edit/"))
    typed = {"name": "Tester", "permissions": ["change_apps"], "version": 0}
    assert as_administrator.post(f"{ROLES}{role.pk}/edit/", typed).status_code == 302
    assert as_administrator.post(f"{ROLES}{role.pk}/edit/", typed).status_code == 422  # stale
    role.refresh_from_db()
    assert role.permissions == ["change_apps"]


def test_a_built_in_role_is_only_duplicated(as_administrator: Client) -> None:
    role = Role.objects.get(name=ADMINISTRATOR)
    page = words(as_administrator.get(f"{ROLES}{role.pk}/"))
    assert "Duplicate it to make one of your own." in page
    assert "/edit/" not in page
    answer = as_administrator.get(f"{ROLES}{role.pk}/edit/", follow=True)
    assert "The built-in role Administrator can't be edited." in words(answer)
    with pytest.raises(ValidationError, match="can't be deleted"):
        delete_role(role, OPERATOR)
    form = as_administrator.get(f"{ROLES}new/?from={role.pk}").context["form"]
    assert set(form["permissions"].value()) == set(Permission.values)
    for unknown in ("x", "999", ""):
        assert as_administrator.get(f"{ROLES}new/?from={unknown}").status_code == 200


def test_a_role_is_deleted_once_no_member_has_it(as_administrator: Client) -> None:
    role = Role.objects.create(name="Tester")
    grant = make_member("Mia", role).role_grants.get()
    delete = f"{ROLES}{role.pk}/delete/"
    assert "Members have this role" in words(as_administrator.get(delete))
    assert as_administrator.post(delete).status_code == 422
    grant.delete()
    assert "The role Tester was deleted." in words(as_administrator.post(delete, follow=True))
    assert as_administrator.get(f"{ROLES}{role.pk}/").status_code == 404
    assert as_administrator.get(delete).status_code == 404


def test_apps_are_created_changed_and_archived_by_three_permissions(crm: App) -> None:
    changer = make_member("Chris", Role.objects.create(name="Changer", permissions=["change_apps"]))
    creator = make_member("Cleo", Role.objects.create(name="Creator", permissions=["create_apps"]))
    crm.name = "CRM"
    save_app(crm, changer)
    save_app(App(key="wiki", name="Wiki"), creator)
    crm.archived = True
    for app, actor in ((App(key="new", name="New"), changer), (crm, changer), (App.objects.get(key="wiki"), creator)):
        with pytest.raises(PermissionDenied):
            save_app(app, actor)
