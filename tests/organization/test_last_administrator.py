"""An organization that has an administrator keeps one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from organization.builtin_roles import ADMINISTRATOR
from organization.govern.administrators import LAST_ADMINISTRATOR, has_administrator
from organization.govern.services import give_role, revoke_grant, save_grant, save_role
from organization.members import save_member
from organization.models import App, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from tests.support.portal import OPERATOR, eventually, make_member, signed_in

MEMBERS = "/management/govern/members/"


def deactivate(member: Member, actor: object = OPERATOR) -> None:
    stored = Member.objects.get(pk=member.pk)
    stored.is_active = False
    save_member(stored, actor)  # type: ignore[arg-type]


def limit_to(app: App) -> Callable[[Member], None]:
    def limit(member: Member) -> None:
        grant = member.role_grants.get()
        grant.app = app
        save_grant(grant, OPERATOR)

    return limit


@pytest.mark.parametrize("takes", ["deactivation", "revocation", "app", "stage", "other role"])
def test_the_last_administrator_stays(administrator: Member, viewer: Member, crm: App, qa: Stage, takes: str) -> None:
    """The Viewer, a member who can't sign in and a deactivated administrator don't count."""
    role = Role.objects.get(name=ADMINISTRATOR)
    for other in (Member.objects.create_user("new@acme.example", name="No password"), make_member("Gone", is_active=False)):
        RoleGrant.objects.create(member=other, role=role)
    grant = administrator.role_grants.get()

    def give_other_role() -> None:
        grant.role = Role.objects.get(name="Viewer")
        save_grant(grant, OPERATOR)

    take: dict[str, Callable[[], object]] = {
        "deactivation": lambda: deactivate(administrator),
        "revocation": lambda: revoke_grant(grant, OPERATOR),
        "app": lambda: limit_to(crm)(administrator),
        "stage": lambda: save_grant(grant, OPERATOR, [qa]),
        "other role": give_other_role,
    }
    with pytest.raises(ValidationError, match="without an administrator"):
        take[takes]()
    assert has_administrator()
    give_role(viewer, role, None, [], OPERATOR)
    grant.refresh_from_db()
    take[takes]()
    assert has_administrator()


def test_administrators_by_a_role_of_their_own_are_not_locked_out_by_narrowing_it(db: None) -> None:
    role = save_role(Role(name="Owners", permissions=Permission.values), [], OPERATOR)
    make_member("Olga", role)
    role.permissions = [Permission.VIEW_MEMBERS.value]
    with pytest.raises(ValidationError, match="without an administrator"):
        save_role(role, [], OPERATOR)


def test_the_pages_and_django_admin_say_why(administrator: Member) -> None:
    client, grant = signed_in(administrator), administrator.role_grants.get()
    for url in (
        f"{MEMBERS}{administrator.pk}/deactivate/",
        f"{MEMBERS}{administrator.pk}/roles/{grant.pk}/revoke/",
        f"/admin/organization/rolegrant/{grant.pk}/delete/",
    ):
        answer = client.post(url, {"post": "yes"}, follow=True)
        assert LAST_ADMINISTRATOR in answer.content.decode()
    typed = {"email": administrator.email, "name": "Ada", "theme": "system", "time_zone": "UTC", "is_staff": "on", "version": 0}
    answer = client.post(f"/admin/organization/member/{administrator.pk}/change/", typed, follow=True)
    assert LAST_ADMINISTRATOR in answer.content.decode()
    assert has_administrator()


@pytest.mark.requires_postgresql
@pytest.mark.django_db(transaction=True)
def test_two_administrators_who_deactivate_each_other_at_once(administrator: Member) -> None:
    other = make_member("Otto", Role.objects.get(name=ADMINISTRATOR), is_staff=True)
    refusals: list[list[str]] = []

    def act() -> None:
        try:
            deactivate(other, administrator)
        except ValidationError as error:
            refusals.append(error.messages)
        finally:
            connection.close()

    thread = threading.Thread(target=act)
    with transaction.atomic():
        deactivate(administrator, other)
        thread.start()
        eventually(lambda: waits_for_a_row() or not thread.is_alive())
    thread.join(60)
    assert refusals == [[LAST_ADMINISTRATOR]]
    assert Member.objects.filter(is_active=True).get() == other


def waits_for_a_row() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted")
        return bool(cursor.fetchone()[0])
