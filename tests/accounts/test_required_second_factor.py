"""A role may require a second factor: its members set one up before any other page opens."""

from __future__ import annotations

import importlib

import pyotp
import pytest
from django.apps import apps
from django.db import connection
from django.test import Client

from organization.builtin_roles import ADMINISTRATOR, ensure_built_in_roles
from organization.govern.services import require_second_factor
from organization.govern.view_as import is_viewing
from organization.models import AuditEvent, Member, Role, RoleGrant
from organization.permissions import Permission
from tests.accounts.test_own_factors import shown_key
from tests.support.pages import words
from tests.support.portal import OPERATOR, ROOT, make_member, signed_in
from tests.support.second_factor import (
    CHALLENGE,
    OVERVIEW,
    SET_UP_APP,
    Device,
    codes_shown,
    confirmed,
    first_factor,
    give_app,
    is_signed_in,
)

pytestmark = pytest.mark.django_db

ROLES = "/management/govern/roles/"


@pytest.fixture
def required() -> Role:
    """The role Administrator, which requires one."""
    role = Role.objects.get(name=ADMINISTRATOR)
    require_second_factor(role, OPERATOR, required=True)
    return role


def test_a_member_without_one_sets_it_up_right_after_the_password_and_goes_on(required: Role, administrator: Member) -> None:
    client = first_factor(administrator, next_url="/apps/?q=crm")
    assert client.get("/apps/?q=crm")["Location"] == OVERVIEW
    page = words(client.get(OVERVIEW))
    assert "Your role Administrator requires one." in page
    assert "Email log" not in page  # no menus yet
    totp = pyotp.TOTP(shown_key(client.get(SET_UP_APP).content.decode()))
    answer = client.post(SET_UP_APP, {"code": totp.now()})
    assert len(codes_shown(answer)) == 10
    assert 'href="/apps/?q=crm"' in answer.content.decode()
    assert is_signed_in(client)
    assert client.get("/admin/").status_code == 200


def test_nobody_goes_round_it(required: Role, administrator: Member) -> None:
    client = first_factor(administrator)
    for path in ("/", "/apps/", "/admin/", "/admin/organization/member/", "/accounts/profile/", "/accounts/password/", "/help/"):
        assert client.get(path)["Location"] == OVERVIEW, path
        assert client.post(path)["Location"] == OVERVIEW, path
    part = client.get("/monitor/email-log/", headers={"HX-Request": "true"})
    assert (part.headers["HX-Redirect"], part.content) == (OVERVIEW, b"")
    assert client.post("/accounts/logout/").status_code == 302


def test_a_passkey_will_do(required: Role, administrator: Member) -> None:
    client = first_factor(administrator)
    Device().add_to(client)
    assert is_signed_in(client)


def test_a_role_given_to_one_who_is_signed_in_counts_from_the_next_page_on(required: Role, viewer: Member) -> None:
    client = signed_in(viewer)
    assert is_signed_in(client)
    RoleGrant.objects.create(member=viewer, role=required)
    assert client.get("/apps/")["Location"] == OVERVIEW
    assert client.get(SET_UP_APP)["Location"].startswith(f"{OVERVIEW}confirm/")
    assert confirmed(client).get(SET_UP_APP).status_code == 200


def test_one_who_has_a_factor_is_asked_for_it_and_for_nothing_more(required: Role, administrator: Member) -> None:
    totp = give_app(administrator)
    client = first_factor(administrator)
    assert client.post(CHALLENGE, {"code": totp.now()}).status_code == 302
    assert is_signed_in(client)


def test_other_roles_require_nothing(required: Role, viewer: Member) -> None:
    assert is_signed_in(first_factor(viewer))


def test_it_ends_a_view_as_another_member(as_administrator: Client, viewer: Member) -> None:
    as_administrator.post(f"/management/govern/members/{viewer.pk}/view-as/")
    require_second_factor(Role.objects.get(name=ADMINISTRATOR), OPERATOR, required=True)
    assert as_administrator.get("/apps/")["Location"] == OVERVIEW
    request = as_administrator.get(OVERVIEW).wsgi_request
    assert not is_viewing(request)


def test_it_costs_members_of_other_roles_no_query(viewer: Member, django_assert_num_queries) -> None:
    viewer.grants  # noqa: B018 - as each page reads them
    from accounts.second_factor.factors import must_set_one_up

    with django_assert_num_queries(0):
        assert not must_set_one_up(viewer)


def test_a_role_is_said_to_require_it_on_its_page_also_a_built_in_one(as_administrator: Client) -> None:
    role = Role.objects.get(name=ADMINISTRATOR)
    page = f"{ROLES}{role.pk}/"
    assert "Not required" in words(as_administrator.get(page))
    as_administrator.post(f"{page}second-factor/", {"required": "yes"})
    role.refresh_from_db()
    assert role.requires_second_factor
    event = AuditEvent.objects.get(entity="organization role")
    assert (event.before["requires_second_factor"], event.after["requires_second_factor"]) == (False, True)
    ensure_built_in_roles()  # as each migrate does
    role.refresh_from_db()
    assert role.requires_second_factor


def test_only_members_who_hold_all_of_the_role_say_so() -> None:
    people = Role.objects.create(name="People", permissions=["view_members", "manage_roles"])
    pia = signed_in(make_member("Pia", people))
    role = Role.objects.get(name=ADMINISTRATOR)
    assert "Require a second factor" not in words(pia.get(f"{ROLES}{role.pk}/"))
    assert pia.post(f"{ROLES}{role.pk}/second-factor/", {"required": "yes"}).status_code == 403
    assert "Require a second factor" in words(pia.get(f"{ROLES}{people.pk}/"))
    assert pia.post(f"{ROLES}{people.pk}/second-factor/", {"required": "yes"}).status_code == 302


def test_a_copy_of_a_role_requires_it_too(as_administrator: Client) -> None:
    role = Role.objects.create(name="Auditor", permissions=["view_audit_trail"], requires_second_factor=True)
    as_administrator.post(f"{ROLES}new/?from={role.pk}", {"name": "Auditor copy", "permissions": "view_audit_trail"})
    assert Role.objects.get(name="Auditor copy").requires_second_factor


def test_after_the_migration_roles_with_everything_still_have_everything() -> None:
    """Such as a duplicate of Administrator, which may be the only administrator's."""
    (file,) = (ROOT / "organization/migrations").glob("*_second_factors.py")
    migration = importlib.import_module(f"organization.migrations.{file.stem}")
    new = Permission.REMOVE_SECOND_FACTORS.value
    before = [code for code in Permission.values if code != new]
    whole = Role.objects.create(name="Everything", permissions=before)
    part = Role.objects.create(name="People", permissions=["view_members", "manage_members"])
    migration.give_to_administrators(apps, connection.schema_editor())
    whole.refresh_from_db()
    part.refresh_from_db()
    assert set(whole.permissions) == set(Permission.values)
    assert part.permissions == ["view_members", "manage_members"]
