from __future__ import annotations

import pytest
from django.core import checks
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from organization.access import EVERYWHERE, Operator, Scope, allowed, require
from organization.builtin_roles import ADMINISTRATOR, DEVELOPER, ensure_built_in_roles
from organization.govern.services import save_grant, save_role
from organization.members import save_member
from organization.models import App, AuditEvent, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from organization.services import save_in_organization
from tests.support.portal import OPERATOR, make_member

EDIT = Permission.EDIT_ASSET_CONFIGURATIONS


@pytest.fixture
def places(crm: App, shop: App, qa: Stage, production: Stage) -> dict[str, Scope]:
    return {
        "everywhere": EVERYWHERE,
        "crm": Scope(app=crm),
        "shop": Scope(app=shop),
        "qa": Scope(stage=qa),
        "crm in qa": Scope(crm, qa),
        "shop in qa": Scope(shop, qa),
        "crm in production": Scope(crm, production),
    }


def grant(member: Member, *permissions: Permission, app: App | None = None, stages: tuple[Stage, ...] = ()) -> Member:
    """A role of its own with these permissions, given to the member. Returns them as the next request sees them."""
    role = Role.objects.create(name=f"Role {Role.objects.count()}", permissions=[permission.value for permission in permissions])
    role.stages.set(stages)
    RoleGrant.objects.create(member=member, role=role, app=app)
    return Member.objects.get(pk=member.pk)


def where(member: Member, places: dict[str, Scope], permission: Permission = EDIT) -> set[str]:
    return {name for name, scope in places.items() if allowed(member, scope, permission)}


@pytest.mark.parametrize(
    ("app", "stages", "covers"),
    [
        (None, (), {"everywhere", "crm", "shop", "qa", "crm in qa", "shop in qa", "crm in production"}),
        (None, ("qa",), {"qa", "crm in qa", "shop in qa"}),
        ("crm", (), {"crm", "crm in qa", "crm in production"}),
        ("crm", ("qa",), {"crm in qa"}),
        ("crm", ("qa", "production"), {"crm in qa", "crm in production"}),
    ],
)
def test_a_grant_covers_its_app_and_its_roles_stages(
    places: dict[str, Scope], app: str | None, stages: tuple[str, ...], covers: set[str]
) -> None:
    member = grant(
        make_member("Mia"),
        EDIT,
        app=App.objects.get(key=app) if app else None,
        stages=tuple(Stage.objects.filter(key__in=stages)),
    )
    assert where(member, places) == covers
    assert where(member, places, Permission.CHANGE_APPS) == set()
    assert member.has_perm_anywhere(EDIT.path)
    assert not member.has_perm_anywhere(Permission.CHANGE_APPS.path)


def test_grants_add_up_and_none_takes_away(places: dict[str, Scope], crm: App, shop: App, qa: Stage) -> None:
    member = grant(make_member("Mia"), EDIT, app=crm)
    member = grant(member, Permission.ACCESS_ASSET_LOGS)
    member = grant(member, EDIT, app=shop, stages=(qa,))
    assert where(member, places) == {"crm", "crm in qa", "crm in production", "shop in qa"}
    assert where(member, places, Permission.ACCESS_ASSET_LOGS) == set(places)


def test_a_member_without_grants_may_do_nothing(places: dict[str, Scope]) -> None:
    member = make_member("Mia")
    assert {
        permission for permission in Permission if where(member, places, permission) or member.has_perm_anywhere(permission.path)
    } == set()


def test_a_removed_member_may_do_nothing(places: dict[str, Scope]) -> None:
    for member in (grant(make_member("Mia"), EDIT), make_member("Sam", is_superuser=True)):
        member.is_active = False
        assert where(member, places) == set()
        assert not member.has_perm_anywhere(EDIT.path)


def test_a_superuser_and_an_operator_may_do_all(places: dict[str, Scope]) -> None:
    for actor in (make_member("Sam", is_superuser=True), Operator("root")):
        assert all(allowed(actor, scope, permission) for scope in places.values() for permission in Permission)


def test_one_of_several_permissions_is_enough(places: dict[str, Scope]) -> None:
    member = grant(make_member("Mia"), EDIT)
    require(member, EVERYWHERE, Permission.CHANGE_APPS, EDIT)
    with pytest.raises(PermissionDenied, match="“Change apps” or “Manage Email Configurations”"):
        require(member, EVERYWHERE, Permission.CHANGE_APPS, Permission.MANAGE_EMAIL_CONFIGURATIONS)


def test_administrators_hold_every_permission_developers_not_those_of_the_platform(db: None) -> None:
    assert Role.objects.get(name=ADMINISTRATOR).known_permissions == list(Permission)
    developer = Role.objects.get(name=DEVELOPER)
    assert not developer.includes(Permission.MANAGE_EMAIL_CONFIGURATIONS.path)
    assert not developer.includes(Permission.MANAGE_MEMBERS.path)


@pytest.mark.parametrize("name", [ADMINISTRATOR, DEVELOPER])
def test_built_in_roles_cannot_be_edited(as_administrator: Client, name: str) -> None:
    role = Role.objects.get(name=name)
    stored = list(role.permissions)
    role.permissions = []
    with pytest.raises(ValidationError, match=f"The built-in role {name} can't be edited"):
        save_role(role, [], OPERATOR)
    page = f"/admin/organization/role/{role.pk}/"
    assert as_administrator.post(f"{page}change/", {"name": "Mine", "permissions": []}).status_code == 403
    assert as_administrator.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    assert Role.objects.get(pk=role.pk).permissions == stored


def test_built_in_roles_are_brought_up_to_this_release(db: None) -> None:
    Role.objects.filter(name=DEVELOPER).update(permissions=[])
    ensure_built_in_roles()
    assert EDIT.value in Role.objects.get(name=DEVELOPER).permissions
    assert Role.objects.filter(built_in=True).count() == 2


def test_a_role_has_known_permissions_only(db: None) -> None:
    with pytest.raises(ValidationError, match="Unknown permission: fly"):
        save_role(Role(name="Pilot", permissions=["fly"]), [], OPERATOR)


def test_the_check_after_a_migration_names_roles_with_unknown_permissions(db: None) -> None:
    assert checks.run_checks(tags=[checks.Tags.database], databases=["default"]) == []
    Role.objects.create(name="Pilot", permissions=[EDIT.value, "fly"])
    (warning,) = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    assert (warning.id, warning.msg) == ("organization.W001", "The role Pilot has an unknown permission: fly.")


def test_a_role_is_granted_once_over_all_apps_and_once_per_app(crm: App) -> None:
    member, role = make_member("Mia"), Role.objects.get(name=DEVELOPER)
    for app in (None, crm):
        save_grant(RoleGrant(member=member, role=role, app=app), OPERATOR)
        with pytest.raises(ValidationError):
            save_grant(RoleGrant(member=member, role=role, app=app), OPERATOR)
        with pytest.raises(IntegrityError), transaction.atomic():
            RoleGrant.objects.create(member=member, role=role, app=app)


def test_what_a_role_may_and_where_is_written_to_the_audit_trail(as_administrator: Client, qa: Stage) -> None:
    data = {"name": "Testers", "permissions": [EDIT.value], "stages": []}
    assert as_administrator.post("/admin/organization/role/add/", data).status_code == 302
    role = Role.objects.get(name="Testers")
    change = f"/admin/organization/role/{role.pk}/change/"
    assert as_administrator.post(change, {**data, "stages": [qa.pk], "version": 1}).status_code == 302
    event = AuditEvent.objects.get(operation="Update", entity="organization role")
    assert (event.before, event.after) == ({"stages": [], "version": 1}, {"stages": ["QA"], "version": 2})
    assert list(role.stages.all()) == [qa]


def test_only_who_manages_the_organization_changes_members_roles_stages_and_grants(
    developer: Member, qa: Stage, crm: App
) -> None:
    role = Role.objects.get(name=ADMINISTRATOR)
    for stage in (Stage(key="new", name="New"), qa):
        with pytest.raises(PermissionDenied):
            save_in_organization(stage, developer)
    with pytest.raises(PermissionDenied):
        save_grant(RoleGrant(member=developer, role=role), developer)
    for member in (Member(email="new@acme.example", name="New"), developer):
        with pytest.raises(PermissionDenied):
            save_member(member, developer)
    with pytest.raises(PermissionDenied):
        save_role(Role(name="Mine", permissions=[]), [], developer)
    assert not AuditEvent.objects.exists()
