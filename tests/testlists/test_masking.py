"""Who may not see whom an app's mail is for learns of nobody on its test list either."""

from __future__ import annotations

import csv
import io

import pytest
from django.test import Client

from organization.models import App, Member, Role, RoleGrant, Stage
from organization.permissions import Permission
from testlists.models import TestList
from tests.support.portal import make_member, signed_in
from tests.support.testlists import keep_list, on_list, typed

pytestmark = pytest.mark.django_db

SECTION = "/apps/crm/configuration/emails/qa/"
EDIT = f"{SECTION}edit/"
NAMED = ("anita@example.com", "bob@example.com", "vera.viewer@acme.example", "Vera Viewer")


def editor(*more: Permission) -> Client:
    """May change everything about test lists, and see nobody's address."""
    permissions = [Permission.EDIT_ASSET_CONFIGURATIONS, *more]
    role = Role.objects.create(name="Editor", permissions=[permission.value for permission in permissions])
    member = make_member("Eddie Editor", is_staff=True)
    RoleGrant.objects.create(member=member, role=role)
    return signed_in(member)


@pytest.fixture
def people(crm: App, qa: Stage, viewer: Member) -> TestList:
    return keep_list(crm, qa, "anita@example.com", "bob@example.com", members=(viewer,), active=True)


@pytest.mark.parametrize(
    "path", [SECTION, EDIT, f"{SECTION}route/?to=customer@example.com", f"{SECTION}route/?to=c@example.com&as_if=active"]
)
def test_no_page_about_a_list_says_who_is_on_it(people: TestList, path: str) -> None:
    page = editor().get(path)
    assert page.status_code == 200
    text = page.content.decode()
    assert "a•••@example.com" in text
    assert not [name for name in NAMED if name in text]


def test_who_may_see_whom_mail_is_for_sees_the_list(as_developer: Client, people: TestList) -> None:
    for path in (SECTION, EDIT):
        text = as_developer.get(path).content.decode()
        assert all(name in text for name in NAMED)
        assert "•••" not in text
    assert "anita@example.com" in as_developer.get(f"{SECTION}route/?to=customer@example.com").content.decode()


def test_a_masked_list_can_be_edited_and_loses_nobody(people: TestList, crm: App, qa: Stage) -> None:
    client = editor()
    keep = [row.key for row in client.get(EDIT).context["people"]]
    assert client.post(EDIT, typed(people, keep=keep[:1] + keep[2:], add="carl@example.com", active="on")).status_code == 302
    assert on_list(crm, qa) == ["vera.viewer@acme.example", "bob@example.com", "carl@example.com"]


def test_django_admin_which_shows_lists_as_text_shows_none_of_them(people: TestList) -> None:
    client = editor()
    assert client.get("/admin/testlists/testlist/").status_code == 200
    assert client.get(f"/admin/testlists/testlist/{people.pk}/change/").status_code == 403


def test_the_audit_trail_and_its_export_mask_who_was_put_on_a_list(people: TestList) -> None:
    client = editor(Permission.VIEW_AUDIT_TRAIL)
    page = client.get("/management/view/audit-trail/?operation=Update").content.decode()
    export = b"".join(client.get("/management/view/audit-trail/export/?operation=Update").streaming_content).decode()
    changes = [row["What changed"] for row in csv.DictReader(io.StringIO(export.removeprefix("\ufeff")))]
    for said in (page, *changes):
        assert "a•••@example.com" in said
        assert not [name for name in NAMED if name in said]
