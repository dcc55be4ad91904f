"""The pages of members: list, rights and why, add, edit, deactivate, give and revoke roles."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from organization.access import EVERYWHERE, Scope, allowed
from organization.builtin_roles import DEVELOPER
from organization.govern.services import give_role
from organization.models import App, AuditEvent, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from tests.support.pages import words
from tests.support.portal import OPERATOR, PASSWORD, make_member, signed_in

MEMBERS = "/management/govern/members/"


@pytest.fixture
def tenant_admin(db: None) -> Role:
    codes = [Permission.MANAGE_EMAIL_CONFIGURATIONS.value, Permission.VIEW_AUDIT_TRAIL.value]
    return Role.objects.create(name="Tenant Admin", permissions=codes)


def page_of(member: Member, *below: str) -> str:
    return MEMBERS + "/".join([str(member.pk), *below, ""])


def names(client: Client, query: str = "") -> list[str]:
    return [member.name for member in client.get(MEMBERS + query).context["page"]]


def test_the_list_is_searched_and_filtered(as_administrator: Client, developer: Member, viewer: Member) -> None:
    make_member("Gone", is_active=False)
    assert names(as_administrator) == ["Ada Admin", "Devon Dev", "Gone", "Vera Viewer"]
    assert names(as_administrator, "?q=vera") == ["Vera Viewer"]
    assert names(as_administrator, "?q=DEVON.DEV@ACME") == ["Devon Dev"]
    assert names(as_administrator, "?state=deactivated") == ["Gone"]
    assert names(as_administrator, f"?role={Role.objects.get(name=DEVELOPER).pk}&state=active") == ["Devon Dev"]
    page = words(as_administrator.get(MEMBERS))
    assert 'Developer <span class="muted">(Customer Relations)</span>' in page
    assert "Never" in page


@pytest.mark.parametrize("query", ["?q=%00", "?state=x", "?role=x", "?role=" + "9" * 30, "?page=x", "?page=-1", "?q=nothing"])
def test_a_filter_that_makes_no_sense_is_no_error(as_administrator: Client, query: str) -> None:
    assert as_administrator.get(MEMBERS + query).status_code == 200


def test_lists_and_pages_take_the_same_queries_for_many_members_and_roles(as_administrator: Client, crm: App, qa: Stage) -> None:
    ada = Member.objects.get()

    def queries() -> list[int]:
        counted = []
        for path in (MEMBERS, page_of(ada), "/management/govern/roles/", f"/management/govern/roles/{Role.objects.all()[0].pk}/"):
            with CaptureQueriesContext(connection) as captured:
                assert as_administrator.get(path).status_code == 200
            counted.append(len(captured))
        return counted

    def fill(few: str) -> None:
        for number in range(3):
            role = Role.objects.create(name=f"Role {few}{number}", permissions=[Permission.CHANGE_APPS.value])
            role.stages.add(qa)
            for member in (ada, make_member(f"Person {few}{number}")):
                give_role(member, role, crm, [qa], OPERATOR)

    fill("a")
    few = queries()
    fill("b")
    assert queries() == few


def test_a_members_page_says_every_right_and_why(
    as_administrator: Client, viewer: Member, tenant_admin: Role, crm: App, qa: Stage
) -> None:
    give_role(viewer, tenant_admin, None, [qa], OPERATOR)
    answer = as_administrator.get(page_of(viewer))
    rights = [(right.permission, right.where, right.role.name) for right in answer.context["rights"]]
    assert rights == [
        (Permission.MANAGE_EMAIL_CONFIGURATIONS, "all apps in QA", "Tenant Admin"),
        (Permission.ACCESS_ASSET_LOGS, "the whole organization", "Viewer"),
    ]  # and not View audit trail, which has no effect in one stage
    assert viewer.email in words(answer)


def test_a_role_is_given_for_one_stage_after_a_preview(
    as_administrator: Client, viewer: Member, tenant_admin: Role, qa: Stage
) -> None:
    typed = {"role": tenant_admin.pk, "stages": [qa.pk]}
    preview = words(as_administrator.get(page_of(viewer, "roles", "preview"), typed))
    assert "Vera Viewer will also have:" in preview
    assert 'Manage Email Configurations <span class="muted">for all apps in QA</span>' in preview
    assert "no effect here: View audit trail." in preview
    without_javascript = as_administrator.post(page_of(viewer, "roles", "give"), {**typed, "preview": "1"})
    assert "Vera Viewer will also have:" in words(without_javascript)
    assert not RoleGrant.objects.filter(member=viewer, role=tenant_admin).exists()

    answer = as_administrator.post(page_of(viewer, "roles", "give"), typed, follow=True)
    assert "Vera Viewer has the role Tenant Admin for all apps in QA." in words(answer)
    member = Member.objects.get(pk=viewer.pk)
    assert [grant.stages.get() for grant in member.role_grants.filter(role=tenant_admin)] == [qa]
    event = AuditEvent.objects.get(operation="Create")
    assert (event.entity, event.after["stages"]) == ("role grant", ["QA"])


def test_a_grant_covers_the_stages_that_role_and_grant_share(
    viewer: Member, tenant_admin: Role, qa: Stage, production: Stage
) -> None:
    tenant_admin.stages.set([qa, production])
    give_role(viewer, tenant_admin, None, [qa], OPERATOR)
    member = Member.objects.get(pk=viewer.pk)
    places = (Scope(stage=qa), Scope(stage=production), EVERYWHERE)
    covered = [allowed(member, place, Permission.MANAGE_EMAIL_CONFIGURATIONS) for place in places]
    assert covered == [True, False, False]


def test_grants_of_a_role_add_up(
    as_administrator: Client, viewer: Member, tenant_admin: Role, qa: Stage, production: Stage
) -> None:
    give = page_of(viewer, "roles", "give")
    for stage in (qa, production):
        assert as_administrator.post(give, {"role": tenant_admin.pk, "stages": [stage.pk]}).status_code == 302
    again = as_administrator.post(give, {"role": tenant_admin.pk, "stages": [qa.pk]})
    assert again.status_code == 422
    assert "Vera Viewer already has the role Tenant Admin there." in words(again)
    grant = viewer.role_grants.get(role=tenant_admin)
    assert set(grant.stages.all()) == {qa, production}
    assert as_administrator.post(give, {"role": tenant_admin.pk}).status_code == 302
    assert not grant.stages.exists()


@pytest.mark.parametrize("typed", [{}, {"role": "x"}, {"role": "999"}, {"app": "999"}, {"stages": ["999"]}, {"stages": ["x"]}])
def test_a_bad_grant_is_answered_422(as_administrator: Client, viewer: Member, tenant_admin: Role, typed: dict[str, Any]) -> None:
    typed = {"role": tenant_admin.pk, **typed} if typed else {}
    assert as_administrator.post(page_of(viewer, "roles", "give"), typed).status_code == 422
    assert as_administrator.get(page_of(viewer, "roles", "preview"), typed).status_code == 200
    assert viewer.role_grants.count() == 1


def test_a_role_is_not_given_for_stages_in_which_it_does_not_apply(
    as_administrator: Client, viewer: Member, tenant_admin: Role, qa: Stage, production: Stage
) -> None:
    tenant_admin.stages.add(production)
    typed = {"role": tenant_admin.pk, "stages": [qa.pk]}
    assert "doesn't apply in the chosen stages" in words(as_administrator.get(page_of(viewer, "roles", "preview"), typed))
    answer = as_administrator.post(page_of(viewer, "roles", "give"), typed)
    assert "The role Tenant Admin applies only in Production." in words(answer)
    assert viewer.role_grants.count() == 1


def test_a_role_is_revoked_after_the_page_said_what_is_lost(as_administrator: Client, viewer: Member) -> None:
    revoke = page_of(viewer, "roles", str(viewer.role_grants.get().pk), "revoke")
    assert "no longer has:" in words(as_administrator.get(revoke))
    assert viewer.role_grants.exists()
    assert "was taken away from Vera Viewer" in words(as_administrator.post(revoke, follow=True))
    assert not viewer.role_grants.exists()
    assert as_administrator.post(revoke).status_code == 404


def test_what_another_role_gives_too_is_not_lost(as_administrator: Client, viewer: Member, crm: App, qa: Stage) -> None:
    log_reader = Role.objects.create(name="Log reader", permissions=[Permission.ACCESS_ASSET_LOGS.value])
    grant = give_role(viewer, log_reader, crm, [qa], OPERATOR)
    revoke = page_of(viewer, "roles", str(grant.pk), "revoke")
    assert "keeps all these rights by other roles" in words(as_administrator.get(revoke))


def test_a_member_is_edited_and_a_stale_page_changes_nothing(as_administrator: Client, viewer: Member) -> None:
    typed = {"email": viewer.email, "name": "Vera V.", "version": 0}
    assert as_administrator.post(page_of(viewer, "edit"), typed).status_code == 302
    stored = Member.objects.get(pk=viewer.pk)
    assert (stored.name, stored.is_active, stored.check_password(PASSWORD)) == ("Vera V.", True, True)
    assert as_administrator.post(page_of(viewer, "edit"), {**typed, "name": "Stale"}).status_code == 422
    assert Member.objects.get(pk=viewer.pk).name == "Vera V."


def test_administrators_dont_deactivate_themselves(administrator: Member) -> None:
    assert "/deactivate/" not in signed_in(administrator).get(page_of(administrator)).content.decode()


def test_a_member_is_deactivated_and_activated(as_administrator: Client, viewer: Member) -> None:
    client = signed_in(viewer)
    assert "leaves every test list" in words(as_administrator.get(page_of(viewer, "deactivate")))
    assert "was deactivated" in words(as_administrator.post(page_of(viewer, "deactivate"), follow=True))
    assert client.get("/apps/").status_code == 302
    assert "can't sign in and may do nothing" in words(as_administrator.get(page_of(viewer)))
    assert "can sign in again" in words(as_administrator.post(page_of(viewer, "activate"), follow=True))
    assert client.get("/apps/").status_code == 302  # a session from before doesn't come back
    assert Client().login(email=viewer.email, password=PASSWORD)


@pytest.mark.parametrize("below", ["", "edit/", "deactivate/", "roles/preview/", "roles/1/revoke/"])
def test_a_member_who_does_not_exist_is_not_found(as_administrator: Client, below: str) -> None:
    assert as_administrator.get(f"{MEMBERS}999/{below}").status_code == 404
    assert as_administrator.get(f"{MEMBERS}{'9' * 25}/{below}").status_code == 404
