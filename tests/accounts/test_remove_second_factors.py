"""An administrator, or the operator, removes the factors of a member who has lost them."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import AuthenticatorApp, RecoveryCode
from accounts.second_factor.factors import has_second_factor, remove_all
from organization.models import AuditEvent, Member, Role
from tests.support.pages import message_text, words
from tests.support.portal import make_member, signed_in
from tests.support.second_factor import Device, confirmed, first_factor, give_app, give_codes, is_signed_in

pytestmark = pytest.mark.django_db


def member_page(member: Member) -> str:
    return f"/management/govern/members/{member.pk}/"


def remove_page(member: Member) -> str:
    return f"{member_page(member)}second-factor/remove/"


@pytest.fixture
def viewers_browser(viewer: Member) -> Client:
    """Vera has an app, a passkey and recovery codes."""
    give_app(viewer)
    client = confirmed(signed_in(viewer))
    Device().add_to(client, "Phone")
    return client


def test_an_administrator_removes_them_from_the_members_page(
    as_administrator: Client, administrator: Member, viewer: Member, viewers_browser: Client
) -> None:
    page = as_administrator.get(member_page(viewer))
    assert "Authenticator app, 1 passkey" in words(page)
    assert f'href="{remove_page(viewer)}"' in page.content.decode()
    assert "authenticator app, passkey “Phone”, recovery codes." in words(as_administrator.get(remove_page(viewer)))
    answer = as_administrator.post(remove_page(viewer), follow=True)
    assert message_text(answer) == "Vera Viewer has no second factor now and is signed out everywhere."
    assert not has_second_factor(viewer) and not RecoveryCode.objects.exists()
    assert not is_signed_in(viewers_browser)
    assert is_signed_in(first_factor(viewer))
    event = AuditEvent.objects.get(operation="Remove second factors")
    assert (event.actor, event.entity_name) == (administrator, "Vera Viewer <vera.viewer@acme.example>")
    assert event.before == {"authenticator_app": True, "passkeys": ["Phone"], "recovery_codes_left": 10}


def test_it_is_a_permission_of_its_own(viewer: Member) -> None:
    give_app(viewer)
    managing = ["view_members", "manage_members", "manage_roles", "access_asset_logs"]
    pia = signed_in(make_member("Pia", Role.objects.create(name="People", permissions=managing)))
    assert remove_page(viewer) not in pia.get(member_page(viewer)).content.decode()
    assert pia.post(remove_page(viewer)).status_code == 403
    removing = ["view_members", "remove_second_factors", "access_asset_logs"]
    rita = signed_in(make_member("Rita", Role.objects.create(name="Rescue", permissions=removing)))
    assert remove_page(viewer) in rita.get(member_page(viewer)).content.decode()
    assert rita.post(remove_page(viewer)).status_code == 302
    assert not has_second_factor(viewer)


def test_only_one_who_holds_all_rights_of_the_member_removes_them(administrator: Member) -> None:
    give_app(administrator)
    removing = Role.objects.create(name="Rescue", permissions=["view_members", "remove_second_factors"])
    rita = make_member("Rita", removing)
    client = signed_in(rita)
    assert remove_page(administrator) not in client.get(member_page(administrator)).content.decode()
    assert client.post(remove_page(administrator)).status_code == 403
    with pytest.raises(PermissionDenied):
        remove_all(administrator, rita)
    assert has_second_factor(administrator)


def test_nobody_removes_their_own_without_confirming(as_administrator: Client, administrator: Member) -> None:
    give_app(administrator)
    assert as_administrator.post(remove_page(administrator))["Location"] == "/accounts/second-factor/"
    with pytest.raises(PermissionDenied):
        remove_all(administrator, administrator)
    assert has_second_factor(administrator)


def test_one_who_has_none_keeps_their_sessions(as_administrator: Client, viewer: Member, as_viewer: Client) -> None:
    answer = as_administrator.post(remove_page(viewer))
    assert answer.status_code == 422
    assert "Vera Viewer has no second factor." in words(answer)
    assert is_signed_in(as_viewer)


def test_the_operator_removes_them_by_command(viewer: Member, viewers_browser: Client) -> None:
    out = StringIO()
    call_command("remove_second_factors", "Vera.Viewer@acme.example", stdout=out)
    assert out.getvalue() == "Vera Viewer has no second factor now and is signed out everywhere.\n"
    assert not AuthenticatorApp.objects.exists() and not is_signed_in(viewers_browser)
    assert AuditEvent.objects.get(operation="Remove second factors").actor_name.endswith("(manage.py remove_second_factors)")
    with pytest.raises(CommandError, match="has no second factor"):
        call_command("remove_second_factors", viewer.email)
    with pytest.raises(CommandError, match="There is no member"):
        call_command("remove_second_factors", "x@acme.example")


def test_django_admin_shows_no_secret(as_administrator: Client, viewer: Member, viewers_browser: Client) -> None:
    codes = give_codes(viewer)
    secret = AuthenticatorApp.objects.get().secret
    for model in ("authenticatorapp", "passkey", "recoverycode"):
        rows = f"/admin/accounts/{model}/"
        first = as_administrator.get(rows).context["cl"].result_list[0]
        page = as_administrator.get(f"{rows}{first.pk}/change/").content.decode()
        assert "Vera Viewer" in page
        assert secret.stored not in page and secret.reveal() not in page and codes[0] not in page
        assert as_administrator.post(f"{rows}{first.pk}/delete/", {"post": "yes"}).status_code == 403
