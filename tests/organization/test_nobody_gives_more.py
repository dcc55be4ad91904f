"""Nobody gives, or takes over, more than they hold: at each entry point a member tries to."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from accounts.invitations.services import invite, send_new_link
from organization.builtin_roles import ADMINISTRATOR
from organization.exceptions import MoreThanHeld
from organization.govern.services import delete_role, give_role, revoke_grant, save_grant, save_role
from organization.members import create_member, give_password, save_member
from organization.models import App, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from tests.support.portal import OPERATOR, PASSWORD, make_member, signed_in

pytestmark = pytest.mark.slow

MEMBERS = "/management/govern/members/"
ROLES = "/management/govern/roles/"
ADMIN = "/admin/organization/"
NEW_PASSWORD = "another-long-phrase"
PEOPLE = [Permission.VIEW_MEMBERS, Permission.MANAGE_MEMBERS, Permission.MANAGE_ROLES]


@pytest.fixture
def pia(administrator: Member, qa: Stage, production: Stage) -> Member:
    """Manages members and roles, may open Django admin, and reads the logs of QA alone. Administrators may do more."""
    pia = make_member("Pia People", Role.objects.create(name="People", permissions=list(map(str, PEOPLE))), is_staff=True)
    readers = Role.objects.create(name="Log reader", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    give_role(pia, readers, None, [qa], OPERATOR)
    qa_readers = Role.objects.create(name="QA reader", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    qa_readers.stages.add(qa)
    return Member.objects.get(pk=pia.pk)


@pytest.fixture
def rows(pia: Member, administrator: Member) -> dict[str, int]:
    """The numbers that the table below speaks of."""
    roles = {role.name.lower().replace(" ", "_"): role.pk for role in Role.objects.all()}
    grants = {
        "people_grant": pia.role_grants.get(role__name="People").pk,
        "administrators_grant": administrator.role_grants.get().pk,
    }
    return {"pia": pia.pk, "ada": administrator.pk, "qa": Stage.objects.get(key="qa").pk, **roles, **grants}


def everything_stored() -> Any:
    """Who may do what where, and how they sign in."""
    roles = [(role.name, role.permissions, [stage.key for stage in role.stages.all()]) for role in Role.objects.all()]
    grants = [(str(grant), [stage.key for stage in grant.stages.all()]) for grant in RoleGrant.objects.order_by("pk")]
    members = list(Member.objects.order_by("pk").values_list("email", "password", "is_active", "is_staff", "is_superuser"))
    return roles, grants, members


ADA = {"email": "ada.admin@acme.example", "name": "Ada", "version": 0}
THEME = {"theme": "system", "time_zone": "UTC"}


@pytest.mark.parametrize(
    ("url", "typed", "answered"),
    [
        # Give more than she holds: a role, or a role where she doesn't hold it.
        (MEMBERS + "{pia}/roles/give/", {"role": "{administrator}"}, 422),
        (MEMBERS + "{pia}/roles/give/", {"role": "{log_reader}"}, 422),
        (ADMIN + "rolegrant/add/", {"member": "{pia}", "role": "{administrator}"}, 403),
        (ADMIN + "rolegrant/add/", {"member": "{ada}", "role": "{log_reader}"}, 403),
        (ADMIN + "rolegrant/{people_grant}/change/", {"member": "{pia}", "role": "{administrator}", "version": 0}, 403),
        # Make a role with more than she holds, or widen one that a member holds.
        (ROLES + "new/", {"name": "Mine", "permissions": [Permission.MANAGE_EMAIL_CONFIGURATIONS.value]}, 422),
        (ROLES + "{people}/edit/", {"name": "People", "permissions": ["manage_members", "view_audit_trail"], "version": 0}, 422),
        (ROLES + "{qa_reader}/edit/", {"name": "QA reader", "permissions": ["access_asset_logs"], "version": 0}, 422),
        (ADMIN + "role/add/", {"name": "Mine", "permissions": ["manage_email_configurations"]}, 403),
        (ADMIN + "role/{people}/change/", {"name": "People", "permissions": ["view_audit_trail"], "version": 0}, 403),
        (ADMIN + "role/{qa_reader}/change/", {"name": "QA reader", "permissions": ["access_asset_logs"], "version": 0}, 403),
        # What needs another permission comes along with it.
        (ROLES + "new/", {"name": "Mine", "permissions": [Permission.RESEND_TO_REAL_RECIPIENTS.value]}, 422),
        # Take over, or take away, what she doesn't hold.
        (MEMBERS + "{ada}/edit/", {**ADA, "email": "mine@acme.example"}, 403),
        (MEMBERS + "{ada}/link/", {}, 403),
        (MEMBERS + "{ada}/deactivate/", {}, 403),
        (MEMBERS + "{ada}/activate/", {}, 403),
        (MEMBERS + "{ada}/roles/{administrators_grant}/revoke/", {}, 403),
        (ADMIN + "member/{ada}/change/", {**ADA, **THEME, "email": "mine@acme.example"}, 403),
        (ADMIN + "rolegrant/{administrators_grant}/delete/", {"post": "yes"}, 403),
        (ROLES + "{log_reader}/edit/", {"name": "Nothing", "permissions": [], "version": 0}, 403),
        (ROLES + "{log_reader}/delete/", {}, 403),
    ],
)
def test_at_each_entry_point(pia: Member, rows: dict[str, int], url: str, typed: dict[str, Any], answered: int) -> None:
    before = everything_stored()
    data = {name: value.format(**rows) if isinstance(value, str) else value for name, value in typed.items()}
    assert signed_in(pia).post(url.format(**rows), data).status_code == answered
    assert everything_stored() == before


def test_in_the_services(pia: Member, administrator: Member, crm: App, qa: Stage) -> None:
    before = everything_stored()
    role = {role.name: role for role in Role.objects.all()}
    attempts = [
        lambda: give_role(pia, role[ADMINISTRATOR], None, [], pia),
        lambda: give_role(pia, role["Log reader"], crm, [], pia),
        lambda: save_grant(RoleGrant(member=pia, role=role[ADMINISTRATOR], app=crm), pia, [qa]),
        lambda: revoke_grant(administrator.role_grants.get(), pia),
        lambda: save_role(Role(name="Mine", permissions=[Permission.VIEW_AUDIT_TRAIL.value]), [], pia),
        lambda: save_role(role["QA reader"], [], pia),
        lambda: delete_role(role["Log reader"], pia),
    ]
    for attempt in attempts:
        with pytest.raises(MoreThanHeld, match="You can give and take only what you hold yourself"):
            attempt()
    root = Member(email="root@acme.example", name="Root", is_superuser=True)
    for member_attempt in (
        lambda: give_password(administrator, NEW_PASSWORD, pia),
        lambda: save_member(administrator, pia),
        lambda: create_member(root, pia, password=NEW_PASSWORD),
        lambda: send_new_link(administrator, pia),
        lambda: invite(root, pia),
    ):
        with pytest.raises(PermissionDenied):
            member_attempt()
    assert everything_stored() == before


def test_what_one_holds_one_gives_where_one_holds_it(pia: Member, rows: dict[str, int], qa: Stage) -> None:
    client, nora = signed_in(pia), make_member("Nora")
    give = f"{MEMBERS}{nora.pk}/roles/give/"
    assert client.post(give, {"role": rows["log_reader"], "stages": [qa.pk]}).status_code == 302
    assert client.post(give, {"role": rows["people"]}).status_code == 302
    typed = {"name": "People", "permissions": [Permission.VIEW_MEMBERS.value], "version": 0}
    assert client.post(ROLES + "new/", {**typed, "name": "Members' readers"}).status_code == 302
    assert client.post(f"{MEMBERS}{nora.pk}/edit/", {"email": nora.email, "name": "Nora N.", "version": 0}).status_code == 302
    assert client.post(f"{ROLES}{rows['people']}/edit/", typed).status_code == 302  # she narrows her own role
    assert client.get(ROLES + "new/").status_code == 403


def test_who_may_not_open_django_admin_lets_nobody_in(pia: Member) -> None:
    Member.objects.filter(pk=pia.pk).update(is_staff=False)
    nora = make_member("Nora")
    typed = {"email": nora.email, "name": "Nora", "is_staff": "on", "version": 0}
    assert signed_in(pia).post(f"{MEMBERS}{nora.pk}/edit/", typed).status_code == 302
    assert not Member.objects.get(pk=nora.pk).is_staff
    nora.is_staff = True
    nora.version = 1
    with pytest.raises(PermissionDenied):
        save_member(nora, Member.objects.get(pk=pia.pk))


def test_only_a_role_that_the_giver_holds_is_offered(pia: Member, administrator: Member) -> None:
    page = signed_in(pia).get(f"{MEMBERS}{administrator.pk}/").content.decode()
    assert ">Log reader</option>" in page
    assert f">{ADMINISTRATOR}</option>" not in page
    assert "/deactivate/" not in page
    assert "/revoke/" not in page
    assert PASSWORD not in page


def test_a_client_without_the_permission_is_told_nothing(client: Client, viewer: Member, administrator: Member) -> None:
    client.force_login(viewer)
    for path in (MEMBERS, f"{MEMBERS}{administrator.pk}/", f"{MEMBERS}999/", ROLES, f"{ROLES}999/"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "Ada" not in answer.content.decode()
    navigation = client.get("/management/configure/emails/").content.decode()
    assert "Organization roles" not in navigation
    assert "Audit trail" not in navigation
