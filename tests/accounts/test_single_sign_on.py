"""Single sign-on against a real OpenID provider over HTTP (tests/support/servers/oidc_server.py)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import Client
from flask import Response
from joserfc.jwk import OctKey

from accounts.models import Identity
from accounts.single_sign_on.linking import link
from organization.builtin_roles import ADMINISTRATOR, DEVELOPER
from organization.models import App, AuditEvent, Member, Role, RoleGrant, Stage
from tests.support.accounts import log_lines
from tests.support.pages import words
from tests.support.portal import OPERATOR, PASSWORD, signed_in
from tests.support.servers.oidc_server import OTHER_KEY, OidcServer

START = "/accounts/single-sign-on/"
BACK = f"{START}callback/"
LINK = f"{START}link/"


@pytest.fixture
def provider(db: None, settings: LazySettings) -> Iterator[OidcServer]:
    with OidcServer() as server:
        settings.OIDC_ISSUER = server.issuer
        settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = server.client.client_id, server.client.client_secret
        settings.OIDC_LABEL, settings.PORTAL_URL = "Acme ID", "http://127.0.0.1:8000"
        yield server


@pytest.fixture
def guest(db: None) -> Member:
    """A member without a password, who can come in only through the provider."""
    return Member.objects.create_user("gil@acme.example", None, name="Gil Guest")


def come_back(client: Client, next_url: str = "") -> HttpResponse:
    """Go to the provider, where the person is signed in already, and come back from it."""
    leading = client.get(START, {"next": next_url} if next_url else {})
    assert leading.status_code == 302, words(leading)
    back = requests.get(leading["Location"], allow_redirects=False, timeout=30)
    place = urlsplit(back.headers["Location"])
    return client.get(f"{place.path}?{place.query}")


def is_signed_in(client: Client, member: Member) -> bool:
    return client.session.get("_auth_user_id") == str(member.pk) and client.get("/apps/").status_code == 200


def linked(server: OidcServer, member: Member) -> None:
    link(server.issuer, server.person["sub"], member, OPERATOR)


def test_the_browser_is_led_to_the_provider_with_pkce_state_and_nonce(provider: OidcServer, client: Client) -> None:
    page = client.get("/accounts/login/?next=/accounts/profile/")
    assert 'href="/accounts/single-sign-on/?next=%2Faccounts%2Fprofile%2F"' in page.content.decode()
    assert "Sign in with Acme ID" in words(page)
    leading = urlsplit(client.get(START)["Location"])
    asked = parse_qs(leading.query)
    assert f"{leading.scheme}://{leading.netloc}" == provider.issuer
    assert asked["redirect_uri"] == [f"http://127.0.0.1:8000{BACK}"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["scope"] == ["openid profile email"]
    assert asked["state"][0] and asked["nonce"][0] and asked["code_challenge"][0]


def test_a_linked_person_is_the_member_and_comes_where_they_wanted_to_go(
    provider: OidcServer, client: Client, guest: Member
) -> None:
    linked(provider, guest)
    assert come_back(client, "/accounts/profile/")["Location"] == "/accounts/profile/"
    assert is_signed_in(client, guest)
    assert come_back(Client(), "https://evil.example/")["Location"] == "/"


@pytest.mark.parametrize(
    ("lies", "says"),
    [
        ({"key": OTHER_KEY}, "can't be used"),
        ({"key": OctKey.generate_key(256), "algorithm": "HS256"}, "can't be used"),
        ({"claims": {"nonce": "of-another-sign-in"}}, "can't be used"),
        ({"claims": {"aud": ["another-client"], "azp": "portal"}}, "can't be used"),
        ({"claims": {"iss": "https://id.evil.example"}}, "can't be used"),
        ({"claims": {"exp": 1_700_000_000}}, "can't be used"),
        ({"claims": {"sub": ""}}, "can't be used"),
        ({"claims": {"sub": ["person-1"]}}, "can't be used"),
        ({"userinfo": {"sub": "person-2", "email": "gil@acme.example", "email_verified": True}}, "can't be used"),
    ],
    ids=[
        "signature",
        "shared secret",
        "nonce",
        "audience",
        "issuer",
        "expired",
        "no subject",
        "list as subject",
        "userinfo of another",
    ],
)
def test_a_token_that_proves_nothing_signs_nobody_in(
    provider: OidcServer, client: Client, guest: Member, lies: dict[str, Any], says: str
) -> None:
    linked(provider, guest)
    for name, value in lies.items():
        setattr(provider, name, value)
    answer = come_back(client)
    assert answer.status_code == 502
    assert says in words(answer)
    assert "_auth_user_id" not in client.session


def test_a_provider_without_keys_of_its_own_is_not_believed(provider: OidcServer, client: Client) -> None:
    provider.discovery["id_token_signing_alg_values_supported"] = ["HS256", "none"]
    assert client.get(START).status_code == 502


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("error=access_denied&error_description=Call+0900-EVIL", 403, "you may not use this portal"),
        ("error=login_required", 403, "needs you to do something first"),
        ("error=made_up_%3Cb%3E", 403, "has refused the sign-in"),
        ("code=x&state=of-nobody", 400, "began in another browser"),
        ("", 400, "began in another browser"),
    ],
)
def test_an_error_of_the_provider_is_a_readable_page(
    provider: OidcServer, client: Client, query: str, status: int, says: str
) -> None:
    answer = client.get(f"{BACK}?{query}")
    assert answer.status_code == status
    assert says in words(answer)
    assert "EVIL" not in answer.content.decode()


def test_no_code_of_the_provider_is_in_the_log(
    provider: OidcServer, client: Client, guest: Member, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it wasn't redeemed, because the portal refused it."""
    caplog.set_level(logging.INFO)
    linked(provider, guest)
    back = urlsplit(requests.get(client.get(START)["Location"], allow_redirects=False, timeout=30).headers["Location"])
    assert Client().get(f"{BACK}?{back.query}").status_code == 400
    assert client.get(f"{BACK}?{back.query}").status_code == 302
    lines = log_lines(caplog)
    assert f"{BACK}?***" in lines
    assert [name for name, (secret,) in parse_qs(back.query).items() if secret in lines] == []


def test_a_code_counts_once(provider: OidcServer, client: Client, guest: Member) -> None:
    linked(provider, guest)
    back = urlsplit(requests.get(client.get(START)["Location"], allow_redirects=False, timeout=30).headers["Location"])
    stolen = Client()  # without the session that it began in
    assert stolen.get(f"{BACK}?{back.query}").status_code == 400
    assert client.get(f"{BACK}?{back.query}").status_code == 302
    assert client.get(f"{BACK}?{back.query}").status_code == 400


@pytest.mark.parametrize(
    "before",
    [
        lambda: Response(status=503),
        lambda: Response("<html>", status=200),
        lambda: Response("[]", mimetype="application/json"),
        lambda: Response("{}", mimetype="application/json"),
        lambda: Response(status=302, headers={"Location": "http://169.254.169.254/latest/"}),
        lambda: Response('{"issuer": "https://another.example"}', mimetype="application/json"),
        lambda: Response("x" * 2_000_000),
    ],
    ids=["503", "html", "list", "empty", "redirect", "another issuer", "endless"],
)
def test_a_broken_provider_is_a_readable_page(provider: OidcServer, client: Client, before: Any) -> None:
    provider.before = before
    answer = client.get(START)
    assert answer.status_code == 502
    assert "Acme ID" in words(answer)


def test_a_provider_that_is_down_is_a_readable_page(db: None, client: Client, settings: LazySettings, closed_port: int) -> None:
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID = f"http://127.0.0.1:{closed_port}", "portal"
    answer = client.get(START)
    assert answer.status_code == 502
    assert "sign in with your password" in words(answer)
    settings.OIDC_ISSUER = "https://169.254.169.254"
    assert client.get(START).status_code == 502


def test_without_single_sign_on_there_is_no_such_page(db: None, client: Client) -> None:
    for url in (START, BACK):
        assert client.get(url).status_code == 404
    assert "single-sign-on" not in client.get("/accounts/login/").content.decode()


# Who is which member


def test_an_unknown_person_is_told_what_to_do(provider: OidcServer, client: Client, guest: Member) -> None:
    answer = come_back(client)
    assert answer.status_code == 403
    assert "ask an administrator to add you" in words(answer)
    assert "person-1" in words(answer)
    assert not Identity.objects.exists()


def test_the_same_subject_at_another_provider_is_another_person(provider: OidcServer, client: Client, guest: Member) -> None:
    link("https://id.evil.example", provider.person["sub"], guest, OPERATOR)
    assert come_back(client).status_code == 403


@pytest.mark.parametrize(
    ("allowed", "claims", "is_linked"),
    [
        (True, {"email": "GIL@acme.example", "email_verified": True}, True),
        (True, {"email": "gil@acme.example", "email_verified": False}, False),
        (True, {"email": "gil@acme.example", "email_verified": "true"}, False),
        (True, {"email": "gil@acme.example"}, False),
        (True, {"email": "other@acme.example", "email_verified": True}, False),
        (False, {"email": "gil@acme.example", "email_verified": True}, False),
    ],
)
def test_a_member_is_linked_by_an_address_that_the_provider_has_verified_and_the_operator_trusts(
    provider: OidcServer,
    client: Client,
    guest: Member,
    settings: LazySettings,
    allowed: bool,
    claims: dict[str, Any],
    is_linked: bool,
) -> None:
    settings.OIDC_LINK_BY_EMAIL = allowed
    provider.claims = claims
    assert come_back(client).status_code == (302 if is_linked else 403)
    assert is_signed_in(client, guest) == is_linked
    assert Identity.objects.filter(member=guest).exists() == is_linked
    assert AuditEvent.objects.filter(entity="identity", actor=guest).exists() == is_linked


def test_the_address_may_come_from_the_userinfo_endpoint(
    provider: OidcServer, client: Client, guest: Member, settings: LazySettings
) -> None:
    settings.OIDC_LINK_BY_EMAIL = True
    provider.userinfo = {"sub": "person-1", "email": "gil@acme.example", "email_verified": True}
    assert come_back(client).status_code == 302
    assert is_signed_in(client, guest)


def test_what_the_userinfo_endpoint_has_verified_says_nothing_about_the_tokens_address(
    provider: OidcServer, client: Client, guest: Member, settings: LazySettings
) -> None:
    settings.OIDC_LINK_BY_EMAIL = True
    provider.claims = {"email": "gil@acme.example"}
    provider.userinfo = {"sub": "person-1", "email": "other@acme.example", "email_verified": True}
    assert come_back(client).status_code == 403


def test_a_member_with_a_password_enters_it_once(
    provider: OidcServer, client: Client, viewer: Member, settings: LazySettings
) -> None:
    settings.OIDC_LINK_BY_EMAIL = True
    provider.claims = {"email": viewer.email, "email_verified": True}
    assert come_back(client, "/accounts/profile/")["Location"] == LINK
    assert "_auth_user_id" not in client.session
    assert viewer.email in words(client.get(LINK))
    other = Member.objects.create_user("eve@acme.example", "eves-own-long-phrase", name="Eve")
    wrong = client.post(LINK, {"username": other.email, "password": "eves-own-long-phrase"})
    assert wrong.status_code == 200
    assert not Identity.objects.exists()
    assert client.post(LINK, {"password": PASSWORD})["Location"] == "/accounts/profile/"
    assert is_signed_in(client, viewer)
    assert client.get(LINK)["Location"] == "/accounts/login/"
    again = Client()
    assert come_back(again)["Location"] == "/"
    assert is_signed_in(again, viewer)


def test_a_member_who_is_signed_in_links_their_own_person(provider: OidcServer, viewer: Member) -> None:
    client = signed_in(viewer)
    assert "Link Acme ID" in words(client.get("/accounts/sessions/"))
    assert come_back(client, "/accounts/sessions/")["Location"] == LINK
    assert client.post(LINK, {"password": PASSWORD})["Location"] == "/accounts/sessions/"
    assert "person-1 at http" in words(client.get("/accounts/sessions/"))
    assert Identity.objects.get().member == viewer


def test_a_deactivated_member_is_refused(provider: OidcServer, client: Client, guest: Member, settings: LazySettings) -> None:
    settings.OIDC_LINK_BY_EMAIL = True
    provider.claims = {"email": guest.email, "email_verified": True}
    Member.objects.filter(pk=guest.pk).update(is_active=False)
    for _ in range(2):
        answer = come_back(client)
        assert answer.status_code == 403
        assert "Your account was deactivated" in words(answer)
        Identity.objects.get_or_create(issuer=provider.issuer, subject="person-1", member=guest)


# Groups


def grants_of(member: Member) -> set[tuple[str, str, str, bool]]:
    return {
        (
            grant.role.name,
            grant.app.key if grant.app else "",
            ",".join(sorted(stage.key for stage in grant.stages.all())),
            grant.from_single_sign_on,
        )
        for grant in RoleGrant.objects.filter(member=member)
    }


def test_groups_become_grants_and_go_with_them(
    provider: OidcServer, guest: Member, crm: App, qa: Stage, production: Stage, settings: LazySettings
) -> None:
    settings.OIDC_GROUP_GRANTS = {
        "crm": [{"role": DEVELOPER, "app": "crm", "stages": ["qa"]}],
        "crm-live": [{"role": DEVELOPER, "app": "crm", "stages": ["production"]}],
        "admins": [{"role": ADMINISTRATOR}],
        "strange": [{"role": "No such role"}, {"role": DEVELOPER, "app": "gone"}],
    }
    RoleGrant.objects.create(member=guest, role=Role.objects.get(name=DEVELOPER), app=crm)
    by_a_member = (DEVELOPER, "crm", "", False)
    linked(provider, guest)
    for groups, grants in (
        (["crm", "strange", "unmapped"], {(DEVELOPER, "crm", "qa", True)}),
        (["crm", "crm-live", "admins"], {(DEVELOPER, "crm", "production,qa", True), (ADMINISTRATOR, "", "", True)}),
        ("crm-live", {(DEVELOPER, "crm", "production", True)}),
        ([], set()),
    ):
        provider.claims = {"groups": groups}
        assert come_back(Client()).status_code == 302
        assert grants_of(guest) == {by_a_member, *grants}
    events = AuditEvent.objects.filter(entity="role grant", actor_name="single sign-on").order_by("pk")
    assert [event.operation for event in events] == ["Create", "Create", "Update", "Update", "Delete", "Delete"]


def test_the_last_administrator_keeps_the_role_when_the_group_is_gone(
    provider: OidcServer, client: Client, viewer: Member, settings: LazySettings
) -> None:
    settings.OIDC_GROUP_GRANTS = {"admins": [{"role": ADMINISTRATOR}]}
    linked(provider, viewer)
    provider.claims = {"groups": ["admins"]}
    assert come_back(client).status_code == 302
    provider.claims = {"groups": []}
    assert come_back(Client()).status_code == 302
    assert (ADMINISTRATOR, "", "", True) in grants_of(viewer)
    Member.objects.create_superuser("root@acme.example", PASSWORD, name="Root")
    assert come_back(Client()).status_code == 302
    assert (ADMINISTRATOR, "", "", True) not in grants_of(viewer)


def test_a_person_is_one_member(provider: OidcServer, guest: Member, viewer: Member) -> None:
    linked(provider, guest)
    client = signed_in(viewer)
    assert come_back(client)["Location"] == "/"  # as the member whom the person is linked to
    assert is_signed_in(client, guest)


def test_the_operator_links_a_member(provider: OidcServer, client: Client, guest: Member, viewer: Member) -> None:
    call_command("link_identity", guest.email.upper(), "person-1", stdout=StringIO())
    assert come_back(client).status_code == 302
    assert is_signed_in(client, guest)
    assert "link_identity" in AuditEvent.objects.get(entity="identity").actor_name
    for email, subject, says in (
        (viewer.email, "person-1", "another member"),
        ("no@acme.example", "p", "no member"),
        (viewer.email, "x" * 256, "at most 255"),
    ):
        with pytest.raises(CommandError, match=says):
            call_command("link_identity", email, subject, stdout=StringIO())


def test_an_administrator_takes_a_link_away(
    provider: OidcServer, client: Client, guest: Member, as_administrator: Client, administrator: Member
) -> None:
    linked(provider, guest)
    identity = Identity.objects.get()
    deleting = as_administrator.post(f"/admin/accounts/identity/{identity.pk}/delete/", {"post": "yes"})
    assert deleting.status_code == 302
    assert AuditEvent.objects.get(entity="identity", operation="Delete").actor == administrator
    assert come_back(client).status_code == 403
