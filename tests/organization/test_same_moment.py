"""Two people save at the same moment: nobody's change is undone, and nobody gets a 500."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.exceptions import ValidationError
from django.test import Client

from organization.builtin_roles import DEVELOPER
from organization.exceptions import STALE
from organization.govern.services import delete_role, save_grant
from organization.members import give_password
from organization.models import App, AuditEvent, Member, Role, RoleGrant, Stage
from tests.support.interleaving import A_TRANSACTION_BEGINS, right_before
from tests.support.portal import OPERATOR, PASSWORD, make_member, signed_in

PROFILE = "/accounts/profile/"
CHANGE_PASSWORD = "/accounts/password/"
A_MEMBER_IS_READ = 'SELECT "organization_member"'
NEW_PASSWORD = "another-long-phrase"
ADMINS_PASSWORD = "the-administrators-phrase"


def by_administrator(client: Client, member: Member, **changes: Any) -> None:
    """What an administrator's form in Django admin sends."""
    version = Member.objects.get(pk=member.pk).version
    stored = {"email": member.email, "name": member.name, "is_active": "on", "theme": "system", "time_zone": "UTC"}
    data = {name: value for name, value in {**stored, "version": version, **changes}.items() if value is not None}
    answer = client.post(f"/admin/organization/member/{member.pk}/change/", data)
    assert answer.status_code == 302, answer.context["adminform"].form.errors


def is_signed_in(client: Client) -> bool:
    return client.get("/apps/").status_code == 200


@pytest.mark.parametrize(
    ("before", "nth", "version", "answered"),
    [
        (A_MEMBER_IS_READ, 2, 0, 422),
        (A_MEMBER_IS_READ, 2, 1, 403),  # a form that guesses the next version
        (A_TRANSACTION_BEGINS, 1, 0, 422),
    ],
)
def test_a_deactivation_wins_over_a_profile_saved_at_the_same_moment(
    as_administrator: Client, viewer: Member, before: str, nth: int, version: int, answered: int
) -> None:
    """Before the page reads the member for the form (it has read them to know who asks), and after that."""
    client = signed_in(viewer)
    typed = {"name": "Vera V.", "theme": "dark", "time_zone": "UTC", "version": version}
    with right_before(before, lambda: by_administrator(as_administrator, viewer, is_active=None), nth=nth):
        assert client.post(PROFILE, typed).status_code == answered
    stored = Member.objects.get(pk=viewer.pk)
    assert (stored.is_active, stored.name) == (False, "Vera Viewer")
    assert not is_signed_in(client)


def test_a_new_password_of_an_operator_wins_over_a_profile_and_ends_the_session(viewer: Member) -> None:
    client = signed_in(viewer)
    typed = {"name": "Vera V.", "theme": "dark", "time_zone": "UTC", "version": 0}
    with right_before(A_TRANSACTION_BEGINS, lambda: give_password(viewer, ADMINS_PASSWORD, OPERATOR)):
        assert client.post(PROFILE, typed).status_code == 302
    assert Member.objects.get(pk=viewer.pk).check_password(ADMINS_PASSWORD)
    assert not is_signed_in(client)


@pytest.mark.parametrize("by_operator", [True, False])
def test_others_win_over_a_password_changed_at_the_same_moment(
    as_administrator: Client, viewer: Member, by_operator: bool
) -> None:
    """An operator gives a new password, or an administrator deactivates the member."""

    def change() -> None:
        if by_operator:
            give_password(viewer, ADMINS_PASSWORD, OPERATOR)
        else:
            by_administrator(as_administrator, viewer, is_active=None)

    client = signed_in(viewer)
    typed = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    with right_before(A_TRANSACTION_BEGINS, change):
        answer = client.post(CHANGE_PASSWORD, typed).content.decode()
    assert ("saved a change" if by_operator else "was deactivated") in answer
    stored = Member.objects.get(pk=viewer.pk)
    assert not stored.check_password(NEW_PASSWORD)
    assert stored.is_active is by_operator
    assert not is_signed_in(client)
    assert not AuditEvent.objects.filter(operation="Change password", actor=viewer).exists()


def test_an_administrators_form_keeps_the_password_that_the_member_changed_meanwhile(
    as_administrator: Client, viewer: Member
) -> None:
    client = signed_in(viewer)
    typed = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
    with right_before("UPDATE", lambda: client.post(CHANGE_PASSWORD, typed)):
        by_administrator(as_administrator, viewer, name="Vera V.")
    stored = Member.objects.get(pk=viewer.pk)
    assert stored.check_password(NEW_PASSWORD)
    assert stored.name == "Vera V."
    assert is_signed_in(client)


def test_a_sign_in_with_the_old_password_never_puts_it_back(viewer: Member) -> None:
    """Django stores a password again with today's hasher when its owner signs in."""
    Member.objects.filter(pk=viewer.pk).update(password=MD5PasswordHasher().encode(PASSWORD, "ab"))  # too little salt
    client = Client()
    with right_before("UPDATE", lambda: give_password(viewer, ADMINS_PASSWORD, OPERATOR)):
        client.post("/accounts/login/", {"username": viewer.email, "password": PASSWORD})
    assert Member.objects.get(pk=viewer.pk).check_password(ADMINS_PASSWORD)
    assert not is_signed_in(client)
    viewer.refresh_from_db()
    assert viewer.check_password(ADMINS_PASSWORD)


def test_a_session_from_before_a_deactivation_does_not_come_back(as_administrator: Client, viewer: Member) -> None:
    client = signed_in(viewer)
    assert is_signed_in(client)
    by_administrator(as_administrator, viewer, is_active=None)
    by_administrator(as_administrator, viewer)
    assert Member.objects.get(pk=viewer.pk).is_active
    assert not is_signed_in(client)


STAGE = {"name": "Staging", "key": "staging", "kind": "non_production"}
ROLE = {"name": "Tester", "permissions": "change_apps"}
APP = {"name": "Payroll", "key": "payroll", "colour": "teal"}
MEMBER = {"email": "Mia@acme.example", "name": "Mia", "theme": "system", "time_zone": "UTC"}


@pytest.mark.parametrize(
    ("url", "typed", "also", "says"),
    [
        ("/management/configure/stages/new/", STAGE, lambda: Stage.objects.create(key="staging"), "Stage with this Key already"),
        ("/apps/new/", APP, lambda: App.objects.create(key="payroll"), "App with this Key already exists"),
        ("/admin/organization/stage/add/", {**STAGE, "order": 1}, lambda: Stage.objects.create(key="staging"), "already exists"),
        ("/admin/organization/app/add/", APP, lambda: App.objects.create(key="payroll"), "already exists"),
        (
            "/admin/organization/role/add/",
            {"name": "Tester", "permissions": "change_apps"},
            lambda: Role.objects.create(name="Tester"),
            "already exists",
        ),
        ("/admin/organization/member/add/", MEMBER, lambda: make_member("Mia"), "already a member with this email"),
    ],
)
def test_a_key_that_another_member_takes_at_the_same_moment_is_reported_as_in_use(
    as_administrator: Client, url: str, typed: dict[str, Any], also: Callable[[], object], says: str
) -> None:
    saved_in = 3 if url.startswith("/admin/") else 2  # after all that was checked before
    with right_before(A_TRANSACTION_BEGINS, also, nth=saved_in):
        answer = as_administrator.post(url, typed, follow=True)
    assert answer.status_code == (200 if url.startswith("/admin/") else 422)
    assert says in answer.content.decode()
    assert not AuditEvent.objects.exists()


def test_a_grant_that_another_member_gives_at_the_same_moment_is_reported_as_existing(
    as_administrator: Client, viewer: Member, crm: App
) -> None:
    role = Role.objects.get(name=DEVELOPER)
    for app in (None, crm):
        typed = {"member": viewer.pk, "role": role.pk, "app": app.pk if app else ""}
        with right_before(A_TRANSACTION_BEGINS, partial(RoleGrant.objects.create, member=viewer, role=role, app=app), nth=3):
            answer = as_administrator.post("/admin/organization/rolegrant/add/", typed, follow=True)
        assert answer.status_code == 200
        assert "already exists" in answer.content.decode() or "is violated" in answer.content.decode()


def test_a_role_is_deleted_while_another_member_grants_it(as_administrator: Client, viewer: Member) -> None:
    role = Role.objects.create(name="Tester")
    typed = {"member": viewer.pk, "role": role.pk}
    with right_before(A_TRANSACTION_BEGINS, lambda: delete_role(role, OPERATOR), nth=2):
        answer = as_administrator.post("/admin/organization/rolegrant/add/", typed, follow=True)
    assert answer.status_code == 200
    assert not RoleGrant.objects.filter(member=viewer, role__name="Tester").exists()


def test_a_role_that_is_granted_meanwhile_is_not_deleted(as_administrator: Client, viewer: Member) -> None:
    role = Role.objects.create(name="Tester")
    page = f"/admin/organization/role/{role.pk}/delete/"
    grant = RoleGrant(member=viewer, role=role)
    with right_before("INSERT INTO", lambda: save_grant(grant, OPERATOR)):  # Django's log of the deletion
        answer = as_administrator.post(page, {"post": "yes"}, follow=True)
    assert answer.status_code == 200
    assert Role.objects.filter(pk=role.pk).exists()
    with pytest.raises(ValidationError, match="deleted because it is still in use"):
        delete_role(Role.objects.get(name="Viewer"), OPERATOR)


def test_a_role_that_was_deleted_is_not_saved_again(as_administrator: Client) -> None:
    role = Role.objects.create(name="Tester")
    page = f"/admin/organization/role/{role.pk}/change/"
    with right_before(A_TRANSACTION_BEGINS, role.delete, nth=2):
        answer = as_administrator.post(page, {"name": "Tester", "permissions": "change_apps", "version": 0}, follow=True)
    assert STALE in answer.content.decode()


def test_what_a_colleague_changed_meanwhile_is_kept(as_administrator: Client, qa: Stage) -> None:
    """The page doesn't show whether the stage is archived, and must not undo it."""
    page = "/management/configure/stages/qa/"
    typed = {"name": "Quality", "kind": "production"}
    with right_before(A_TRANSACTION_BEGINS, lambda: as_administrator.post(f"{page}archive/")):
        answer = as_administrator.post(f"{page}edit/", {**typed, "version": 0})
    assert answer.status_code == 422
    assert STALE in answer.content.decode().replace("&#x27;", "'")
    stored = Stage.objects.get(key="qa")
    assert (stored.name, stored.kind, stored.archived) == ("QA", "non_production", True)
