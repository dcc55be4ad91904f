"""Passkeys, with a device that does what a browser wouldn't. tests/browser/test_second_factor.py has a real browser."""

from __future__ import annotations

import pytest
from django.test import Client
from fido2.webauthn import AuthenticatorData
from pytest_django import Settings

from accounts.models import Passkey, RecoveryCode
from organization.models import AuditEvent, Member
from tests.support.pages import message_text, words
from tests.support.portal import signed_in
from tests.support.second_factor import (
    ADD_PASSKEY,
    CHALLENGE,
    OVERVIEW,
    Device,
    codes_shown,
    confirmed,
    first_factor,
    is_signed_in,
    options,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(viewer: Member) -> Client:
    return confirmed(signed_in(viewer))


@pytest.fixture
def device(client: Client) -> Device:
    """One whose passkey the member has added."""
    device = Device()
    device.add_to(client)
    return device


def answer(browser: Client, device: Device) -> int:
    asked = options(browser.get(CHALLENGE))
    return browser.post(CHALLENGE, {"passkey": device.signed(asked)}).status_code


def test_a_passkey_is_added_and_signs_in(client: Client, viewer: Member) -> None:
    device = Device()
    assert len(codes_shown(device.add_to(client, "Key on my desk"))) == 10
    event = AuditEvent.objects.get(entity="passkey")
    assert (event.operation, event.after) == ("Create", {"label": "Key on my desk"})
    browser = first_factor(viewer)
    assert answer(browser, device) == 302
    assert is_signed_in(browser)
    passkey = Passkey.objects.get()
    assert passkey.last_used is not None
    assert passkey.sign_count == 1


def test_several_have_names_and_the_second_one_makes_no_new_codes(client: Client, device: Device) -> None:
    assert "was added" in message_text(client.get(Device().add_to(client, "Phone")["Location"]))
    assert RecoveryCode.objects.count() == 10
    page = words(client.get(OVERVIEW))
    assert "Laptop" in page and "Phone" in page


def test_the_browser_is_asked_for_the_host_of_portal_url_and_to_verify_its_user(client: Client, settings: Settings) -> None:
    settings.PORTAL_URL = "https://portal.acme.example:8443"
    asked = options(client.get(ADD_PASSKEY, HTTP_HOST="localhost"))
    assert asked["rp"]["id"] == "portal.acme.example"
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    own = Device("portal.acme.example", "https://portal.acme.example:8443")
    assert own.add_to(client).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", "http://localhost"),
        ("localhost", "http://evil.example"),
        ("localhost", "https://localhost"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_another_site_is_refused(client: Client, viewer: Member, device: Device, host: str, origin: str) -> None:
    assert Device(host, origin).add_to(client).status_code == 422
    device.host, device.origin = host, origin
    assert answer(first_factor(viewer), device) == 422


def test_a_device_that_did_not_ask_its_user_is_refused(client: Client, viewer: Member, device: Device) -> None:
    device.flags = AuthenticatorData.FLAG.UP
    assert answer(first_factor(viewer), device) == 422
    other = Device()
    other.flags = AuthenticatorData.FLAG.UP
    assert other.add_to(client).status_code == 422


def test_a_copied_key_is_noticed_by_its_count(viewer: Member, device: Device) -> None:
    assert answer(first_factor(viewer), device) == 302
    device.count = 0  # a copy from before
    browser = first_factor(viewer)
    asked = options(browser.get(CHALLENGE))
    refused = browser.post(CHALLENGE, {"passkey": device.signed(asked)})
    assert "counts fewer uses than before" in words(refused)
    assert not is_signed_in(browser)


def test_a_device_that_does_not_count_is_accepted_again_and_again(viewer: Member, device: Device) -> None:
    for _ in range(2):
        device.count = -1  # so that it says 0
        assert answer(first_factor(viewer), device) == 302


def test_an_answer_works_once_and_for_its_own_question(viewer: Member, device: Device) -> None:
    browser, other = first_factor(viewer), first_factor(viewer)
    signed = device.signed(options(browser.get(CHALLENGE)))
    other.get(CHALLENGE)
    assert other.post(CHALLENGE, {"passkey": signed}).status_code == 422
    assert browser.post(CHALLENGE, {"passkey": signed}).status_code == 302
    assert not is_signed_in(other)


def test_another_members_passkey_is_refused(viewer: Member, developer: Member, device: Device) -> None:
    Device().add_to(confirmed(signed_in(developer)))
    browser = first_factor(developer)
    assert answer(browser, device) == 422


def test_a_passkey_is_added_once(client: Client, device: Device) -> None:
    assert [known["id"] for known in options(client.get(ADD_PASSKEY))["excludeCredentials"]] == [
        Passkey.objects.get().credential_id
    ]
    refused = device.add_to(client)
    assert refused.status_code == 422
    assert Passkey.objects.count() == 1


@pytest.mark.parametrize("junk", ["", "{", "[]", "null", '{"id": 1}', "[" * 9000, '{"response": {"clientDataJSON": "%%%"}}'])
def test_junk_is_refused(client: Client, viewer: Member, device: Device, junk: str) -> None:
    client.get(ADD_PASSKEY)
    assert client.post(ADD_PASSKEY, {"label": "x", "passkey": junk}).status_code == 422
    browser = first_factor(viewer)
    browser.get(CHALLENGE)
    assert browser.post(CHALLENGE, {"passkey": junk}).status_code == 422


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://[::1]:8000", "https://192.0.2.7", "http://portal.acme.example"])
def test_where_browsers_refuse_passkeys_the_page_says_so(client: Client, settings: Settings, url: str) -> None:
    settings.PORTAL_URL = url
    assert f"PORTAL_URL is {url}." in words(client.get(OVERVIEW))
    assert message_text(client.get(ADD_PASSKEY, follow=True)).startswith("Passkeys need a portal with HTTPS")
