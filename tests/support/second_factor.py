"""Members with a second factor, and a device that makes passkeys without a browser."""

from __future__ import annotations

import json
import re
import secrets
import time
from html import unescape
from typing import Any

import pyotp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.http import HttpResponse
from django.test import Client
from fido2.cose import ES256
from fido2.utils import sha256, websafe_decode, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

from accounts.models import AuthenticatorApp, Passkey
from accounts.second_factor.recovery_codes import make_recovery_codes
from common.encryption import EncryptedValue
from organization.models import Member
from tests.support.portal import PASSWORD

LOGIN = "/accounts/login/"
CHALLENGE = "/accounts/login/second-factor/"
OVERVIEW = "/accounts/second-factor/"
CONFIRM = f"{OVERVIEW}confirm/"
SET_UP_APP = f"{OVERVIEW}authenticator-app/"
ADD_PASSKEY = f"{OVERVIEW}passkeys/add/"
NEW_CODES = f"{OVERVIEW}recovery-codes/"


def give_app(member: Member) -> pyotp.TOTP:
    """An authenticator app that the member has set up and not used yet."""
    secret = pyotp.random_base32()
    AuthenticatorApp.objects.create(member=member, secret=EncryptedValue.of(secret), last_step=0)
    return pyotp.TOTP(secret)


def give_codes(member: Member) -> list[str]:
    return make_recovery_codes(member)


def give_passkey(member: Member) -> None:
    credential = Device().credential
    key, whole = websafe_encode(credential.credential_id), websafe_encode(credential)
    Passkey.objects.create(member=member, label="Phone", credential_id=key, credential=whole, sign_count=0)


def first_factor(member: Member, password: str = PASSWORD, next_url: str = "") -> Client:
    """A browser in which the member has typed the password."""
    client = Client()
    client.post(LOGIN, {"username": member.email, "password": password, "next": next_url})
    return client


def is_signed_in(client: Client) -> bool:
    return client.get("/apps/").status_code == 200


def confirmed(client: Client) -> Client:
    """The member has typed their password again."""
    assert client.post(CONFIRM, {"password": PASSWORD}).status_code == 302
    return client


def next_code(totp: pyotp.TOTP) -> str:
    """The code of the next step, which is accepted too: the one of this step may be used up."""
    return totp.at(int(time.time()) + 30)


def codes_shown(answer: HttpResponse) -> list[str]:
    return re.findall(r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){5}\b", answer.content.decode())


class Device:
    """A device with one passkey. What a browser would do is done as the test wants."""

    def __init__(self, host: str = "localhost", origin: str = "http://localhost") -> None:
        self.host, self.origin = host, origin
        self.count = 0
        self.flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.UV
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(16)

    @property
    def credential(self) -> AttestedCredentialData:
        return AttestedCredentialData.create(Aaguid.NONE, self.id, ES256.from_cryptography_key(self.key.public_key()))

    def add_to(self, client: Client, label: str = "Laptop") -> HttpResponse:
        page = client.get(ADD_PASSKEY)
        return client.post(ADD_PASSKEY, {"label": label, "passkey": self.made(options(page))})

    def made(self, asked: dict[str, Any]) -> str:
        flags = self.flags | AuthenticatorData.FLAG.AT
        data = AuthenticatorData.create(sha256(self.host.encode()), flags, self.count, self.credential)
        return self._json(
            self._client_data("webauthn.create", asked), attestationObject=AttestationObject.create("none", data, {})
        )

    def signed(self, asked: dict[str, Any]) -> str:
        self.count += 1
        data = AuthenticatorData.create(sha256(self.host.encode()), self.flags, self.count)
        client_data = self._client_data("webauthn.get", asked)
        signature = self.key.sign(data + client_data.hash, ec.ECDSA(hashes.SHA256()))
        return self._json(client_data, authenticatorData=data, signature=signature)

    def _client_data(self, kind: str, asked: dict[str, Any]) -> CollectedClientData:
        return CollectedClientData.create(kind, websafe_decode(asked["challenge"]), self.origin)

    def _json(self, client_data: CollectedClientData, **response: bytes) -> str:
        parts = {"clientDataJSON": client_data, **response}
        encoded = {name: websafe_encode(value) for name, value in parts.items()}
        key = websafe_encode(self.id)
        return json.dumps({"id": key, "rawId": key, "type": "public-key", "response": encoded, "clientExtensionResults": {}})


def options(page: HttpResponse) -> dict[str, Any]:
    """What the page asks the browser for."""
    asked = re.search(r'data-options="([^"]*)"', page.content.decode())
    assert asked, "the page asks for no passkey"
    return json.loads(unescape(asked[1]))  # type: ignore[no-any-return]
