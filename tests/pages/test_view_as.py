"""View as this member: to look at only, for 15 minutes, and never more than both may see."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from time_machine import travel

from organization.builtin_roles import ADMINISTRATOR
from organization.models import AuditEvent, Member, Role, Stage
from organization.permissions import Permission
from portal.middleware.view_as import _SHOWN
from tests.pages.test_every_url import in_words, routes
from tests.support.pages import words
from tests.support.portal import make_member, signed_in
from tests.support.urls import address_of

pytestmark = pytest.mark.same_on_both

END = "/management/govern/members/view-as/end/"


def view(viewer: Member, member: Member) -> Client:
    client = signed_in(viewer)
    assert client.post(f"/management/govern/members/{member.pk}/view-as/")["Location"] == "/"
    return client


def test_a_view_shows_what_the_member_sees_and_ends(administrator: Member, developer: Member, qa: Stage) -> None:
    client = view(administrator, developer)
    page = words(client.get("/apps/"))
    assert "Ada Admin, you view the portal as <strong>Devon Dev</strong>" in page
    assert 'href="/apps/new/"' not in page
    assert client.get("/management/govern/members/").status_code == 403  # which Devon may not see
    assert "Organization roles" not in words(client.get("/management/configure/emails/"))
    event = AuditEvent.objects.get(operation="View as member")
    assert (event.actor, event.entity_name) == (administrator, str(developer))
    assert client.post(END)["Location"] == f"/management/govern/members/{developer.pk}/"
    assert "you view the portal as" not in words(client.get("/apps/"))
    assert client.get("/management/govern/members/").status_code == 200


@pytest.mark.slow
def test_nothing_can_be_changed_and_only_some_pages_are_shown(everything: Member) -> None:
    """Viewed is another administrator, who may do everything."""
    otto = make_member("Otto", Role.objects.get(name=ADMINISTRATOR), is_staff=True)
    client = view(everything, otto)
    before = AuditEvent.objects.count()
    for route in routes():
        address = address_of(route)
        if "/login/" in address or "logout" in address or address == END:
            continue
        answer = client.get(address)
        is_shown = answer.status_code != 403
        name = getattr(answer.wsgi_request.resolver_match, "url_name", None)
        assert is_shown == (name in _SHOWN and "/admin/" not in address), f"GET {address}: {in_words(answer)}"
        assert client.post(address).status_code == 403, f"POST {address}"
    assert AuditEvent.objects.count() == before


def test_addresses_and_contents_are_hidden_though_both_may_see_them(everything: Member) -> None:
    otto = make_member("Otto", Role.objects.get(name=ADMINISTRATOR))
    client = view(everything, otto)
    for route in (
        "apps/<slug:app_key>/configuration/emails/<slug:stage_key>/",
        "monitor/email-log/<slug:stage_key>/<int:message_id>/",
    ):
        page = words(client.get(address_of(route)))
        assert "ana@example.com" not in page
        assert "customer@example.com" not in page


def test_a_view_ends_after_15_minutes_and_when_the_right_is_gone(administrator: Member, developer: Member) -> None:
    client = view(administrator, developer)
    with travel(timezone.now() + timedelta(minutes=16)):
        assert "You no longer view the portal as another member." in words(client.get("/apps/"))
    client = view(administrator, developer)
    Member.objects.filter(pk=developer.pk).update(is_active=False)
    assert "You no longer view" in words(client.get("/apps/"))


def test_a_member_with_rights_that_one_lacks_is_not_viewed(administrator: Member, developer: Member, viewer: Member) -> None:
    codes = [Permission.VIEW_MEMBERS.value, Permission.MANAGE_MEMBERS.value, Permission.ACCESS_ASSET_LOGS.value]
    pia = make_member("Pia", Role.objects.create(name="People", permissions=codes))
    client = signed_in(pia)
    gone = make_member("Gone", is_active=False)
    for member in (administrator, developer, gone, pia):
        assert client.post(f"/management/govern/members/{member.pk}/view-as/").status_code == 403
        assert "/view-as/" not in words(client.get(f"/management/govern/members/{member.pk}/"))
    assert client.post(f"/management/govern/members/{viewer.pk}/view-as/").status_code == 302
    client.post("/accounts/logout/")
    assert client.get("/apps/").status_code == 302
    assert signed_in(viewer).post(f"/management/govern/members/{pia.pk}/view-as/").status_code == 403
