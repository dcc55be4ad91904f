"""Members set up and remove their own second factors."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pyotp
import pytest
import time_machine
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import AuthenticatorApp, Passkey, RecoveryCode
from accounts.second_factor.factors import remove_all
from organization.members import give_password
from organization.models import AuditEvent, Member, RoleGrant
from tests.support.interleaving import A_TRANSACTION_BEGINS, right_before
from tests.support.pages import message_text, words
from tests.support.portal import OPERATOR, PASSWORD, signed_in
from tests.support.second_factor import (
    ADD_PASSKEY,
    CHALLENGE,
    CONFIRM,
    NEW_CODES,
    OVERVIEW,
    SET_UP_APP,
    Device,
    codes_shown,
    confirmed,
    first_factor,
    give_app,
    give_codes,
    is_signed_in,
    next_code,
)

pytestmark = pytest.mark.django_db

REMOVE_APP = f"{SET_UP_APP}remove/"


def shown_key(page: str) -> str:
    key = re.search(r'<code id="totp-key">([A-Z2-7 ]+)</code>', page)
    assert key
    return key[1].replace(" ", "")


def test_an_app_is_set_up_with_a_code_and_recovery_codes_are_shown_once(viewer: Member) -> None:
    client = confirmed(signed_in(viewer))
    page = client.get(SET_UP_APP).content.decode()
    assert "<svg" in page and "style=" not in page
    totp = pyotp.TOTP(shown_key(page))
    answer = client.post(SET_UP_APP, {"code": totp.now()})
    codes = codes_shown(answer)
    assert len(set(codes)) == 10
    assert is_signed_in(client)
    assert AuthenticatorApp.objects.get().secret.reveal() == totp.secret
    assert not set(codes_shown(client.get(OVERVIEW))) and "10 codes left" in words(client.get(OVERVIEW))

    again = first_factor(viewer)
    assert again.post(CHALLENGE, {"code": totp.now()}).status_code == 422  # it set the app up
    assert again.post(CHALLENGE, {"code": next_code(totp)}).status_code == 302
    assert first_factor(viewer).post(CHALLENGE, {"recovery_code": codes[0]}).status_code == 302


def test_a_wrong_code_sets_nothing_up_and_keeps_the_key(viewer: Member) -> None:
    client = confirmed(signed_in(viewer))
    key = shown_key(client.get(SET_UP_APP).content.decode())
    answer = client.post(SET_UP_APP, {"code": "000000"})
    assert answer.status_code == 422
    assert shown_key(answer.content.decode()) == key
    assert not AuthenticatorApp.objects.exists()


def test_no_secret_is_readable_in_the_database_or_the_audit_trail(viewer: Member) -> None:
    client = confirmed(signed_in(viewer))
    key = shown_key(client.get(SET_UP_APP).content.decode())
    assert key not in str(dict(client.session))
    codes = codes_shown(client.post(SET_UP_APP, {"code": pyotp.TOTP(key).now()}))
    stored = str([*AuthenticatorApp.objects.values(), *RecoveryCode.objects.values(), *AuditEvent.objects.values()])
    assert key not in stored
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


def test_the_secret_comes_along_to_a_new_key(viewer: Member, settings: Settings) -> None:
    totp = give_app(viewer)
    new = Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [new, *settings.ENCRYPTION_KEYS]
    call_command("rotate_keys", stdout=StringIO())
    settings.ENCRYPTION_KEYS = [new]
    assert first_factor(viewer).post(CHALLENGE, {"code": totp.now()}).status_code == 302


@pytest.mark.parametrize("path", [SET_UP_APP, ADD_PASSKEY, REMOVE_APP, NEW_CODES])
def test_every_change_asks_for_the_password_again(viewer: Member, path: str) -> None:
    give_app(viewer)
    client = signed_in(viewer)
    for answer in (client.get(path), client.post(path, {"code": "123456"})):
        assert answer["Location"] == f"{CONFIRM}?next={path.replace('/', '%2F')}"
    assert client.post(answer["Location"], {"password": "wrong"}).status_code == 422
    assert client.post(answer["Location"], {"password": PASSWORD})["Location"] == path
    assert client.get(path).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=5)):
        assert client.get(path).status_code == 302


def test_a_second_factor_confirms_as_well_and_signing_in_counts(viewer: Member) -> None:
    totp = give_app(viewer)
    client = signed_in(viewer)
    assert client.post(CONFIRM, {"code": totp.now()})["Location"] == OVERVIEW
    assert client.get(REMOVE_APP).status_code == 200
    fresh = first_factor(viewer)
    fresh.post(CHALLENGE, {"code": next_code(totp)})
    assert fresh.get(REMOVE_APP).status_code == 200


def test_five_wrong_confirmations_sign_the_member_out(viewer: Member) -> None:
    client = signed_in(viewer)
    answers = [client.post(CONFIRM, {"password": "wrong"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 302]
    assert not is_signed_in(client)


def test_confirming_leads_to_no_other_site(viewer: Member) -> None:
    answer = signed_in(viewer).post(f"{CONFIRM}?next=https://evil.example/", {"password": PASSWORD})
    assert answer["Location"] == OVERVIEW


def test_a_member_without_password_and_factor_confirms_by_signing_in_again(viewer: Member) -> None:
    viewer.set_unusable_password()
    viewer.save()
    assert "Sign out, sign in again" in words(signed_in(viewer).get(CONFIRM))


def test_each_change_signs_the_member_out_elsewhere(viewer: Member) -> None:
    here, elsewhere = confirmed(signed_in(viewer)), signed_in(viewer)
    Device().add_to(here)
    assert (is_signed_in(here), is_signed_in(elsewhere)) == (True, False)
    viewer.refresh_from_db()
    elsewhere = signed_in(viewer)
    here.post(f"{OVERVIEW}passkeys/{Passkey.objects.get().pk}/remove/")
    assert (is_signed_in(here), is_signed_in(elsewhere)) == (True, False)


@pytest.mark.parametrize(
    "end",
    [
        lambda member: give_password(member, "another-long-phrase", OPERATOR),
        lambda member: Member.objects.filter(pk=member.pk).update(is_active=False),
        lambda member: remove_all(member, OPERATOR),
    ],
)
def test_a_session_that_ends_at_the_same_moment_changes_nothing(viewer: Member, end: Callable[[Member], object]) -> None:
    """And doesn't come back."""
    give_app(viewer)
    client = confirmed(signed_in(viewer))
    with right_before(A_TRANSACTION_BEGINS, lambda: end(viewer)):
        assert client.post(NEW_CODES).status_code == 403
    assert not RecoveryCode.objects.exists()
    assert not is_signed_in(client)


def test_a_form_that_is_sent_twice_is_no_error_of_the_portal(viewer: Member) -> None:
    totp = give_app(viewer)
    client = first_factor(viewer)
    with right_before('UPDATE "django_session"', client.session.flush):
        assert client.post(CHALLENGE, {"code": totp.now()}).status_code == 400


def test_another_phone_takes_the_place_of_the_first(viewer: Member) -> None:
    old = give_app(viewer)
    give_codes(viewer)
    client = confirmed(signed_in(viewer))
    new = pyotp.TOTP(shown_key(client.get(SET_UP_APP).content.decode()))
    answer = client.post(SET_UP_APP, {"code": new.now()}, follow=True)
    assert message_text(answer) == "Your authenticator app is set up. You are signed out everywhere else."
    again = first_factor(viewer)
    assert again.post(CHALLENGE, {"code": old.now()}).status_code == 422
    assert again.post(CHALLENGE, {"code": next_code(new)}).status_code == 302


def test_with_the_last_factor_the_recovery_codes_go(viewer: Member) -> None:
    give_app(viewer)
    give_codes(viewer)
    client = confirmed(signed_in(viewer))
    Device().add_to(client)
    client.post(REMOVE_APP)
    assert RecoveryCode.objects.count() == 10
    client.post(f"{OVERVIEW}passkeys/{Passkey.objects.get().pk}/remove/")
    assert not RecoveryCode.objects.exists()
    assert is_signed_in(first_factor(viewer))
    removed = AuditEvent.objects.filter(operation="Delete").order_by("pk").values_list("entity", "entity_name")
    assert list(removed) == [
        ("authenticator app", "Authenticator app of Vera Viewer"),
        ("passkey", "Passkey “Laptop” of Vera Viewer"),
    ]


def test_the_last_factor_stays_while_a_role_requires_it(viewer: Member) -> None:
    give_app(viewer)
    grant = RoleGrant.objects.get(member=viewer)
    grant.role.requires_second_factor = True
    grant.role.save()
    client = confirmed(signed_in(viewer))
    answer = client.post(REMOVE_APP)
    assert answer.status_code == 422
    assert "Your role Viewer requires a second factor. Add another one first." in words(answer)
    assert AuthenticatorApp.objects.exists()
    assert is_signed_in(client)


def test_new_recovery_codes_replace_the_old_ones(viewer: Member) -> None:
    give_app(viewer)
    old = give_codes(viewer)
    new = codes_shown(confirmed(signed_in(viewer)).post(NEW_CODES))
    assert len(new) == 10
    client = first_factor(viewer)
    assert client.post(CHALLENGE, {"recovery_code": old[0]}).status_code == 422
    assert client.post(CHALLENGE, {"recovery_code": new[0]}).status_code == 302


def test_nobody_removes_anothers_passkey_by_its_number(viewer: Member, developer: Member) -> None:
    Device().add_to(confirmed(signed_in(viewer)))
    client = confirmed(signed_in(developer))
    assert client.post(f"{OVERVIEW}passkeys/{Passkey.objects.get().pk}/remove/").status_code == 404


def test_there_are_no_recovery_codes_without_a_factor(viewer: Member) -> None:
    client = confirmed(signed_in(viewer))
    assert client.post(NEW_CODES)["Location"] == OVERVIEW
    assert not RecoveryCode.objects.exists()


def test_the_profile_leads_there(client: Client, viewer: Member) -> None:
    client.force_login(viewer)
    assert f'href="{OVERVIEW}"' in client.get("/accounts/profile/").content.decode()
