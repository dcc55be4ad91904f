"""An administrator gives a right for one stage, by keyboard, in both themes."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from organization.access import EVERYWHERE, Scope, allowed
from organization.models import Member, Role, Stage
from organization.permissions import Permission
from tests.support.browser import Person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_right_for_one_stage_takes_four_acts_from_the_list(person: Person, qa: Stage, production: Stage, theme: str) -> None:
    Member.objects.update(theme=theme)
    role = Role.objects.create(name="Tenant Admin", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value])
    devon = Member.objects.get(name="Devon Dev")
    person.sign_in("ada.admin@acme.example")
    person.open("/management/govern/members/")
    page = person.page

    person.press_tab_to(f"a[href='/management/govern/members/{devon.pk}/']")
    page.keyboard.press("Enter")  # 1: the member
    page.wait_for_url(f"**/members/{devon.pk}/")
    person.press_tab_to("#id_role")
    page.keyboard.type("Tenant")  # 2: the role
    expect(page.get_by_text("Devon Dev will also have:")).to_be_visible()
    person.press_tab_to(f"input[name=stages][value='{qa.pk}']")
    page.keyboard.press("Space")  # 3: the stage
    expect(page.locator("#grant-preview li")).to_have_text("Manage Email Configurations for all apps in QA")
    person.accessible()
    person.press_tab_to("button:text-is('Give role')")
    page.keyboard.press("Enter")  # 4: save
    expect(page.get_by_text("Devon Dev has the role Tenant Admin for all apps in QA.")).to_be_visible()

    right = page.get_by_role("row").filter(has_text="Manage Email Configurations")
    expect(right).to_contain_text("All apps in QA")
    expect(right).to_contain_text("from role Tenant Admin")
    assert [grant.role for grant in devon.role_grants.filter(stages=qa)] == [role]
    places = (Scope(stage=qa), Scope(stage=production), EVERYWHERE)
    held = [allowed(Member.objects.get(pk=devon.pk), place, Permission.MANAGE_EMAIL_CONFIGURATIONS) for place in places]
    assert held == [True, False, False]
