"""Passkeys (WebAuthn): what the browser is asked, and whether its answer is right.

Host and origin are those of PORTAL_URL, never of the request. The device must have asked its user (a fingerprint, a PIN).
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from accounts.exceptions import WrongSecondFactor
from accounts.second_factor.models import Passkey
from organization.models import Member

_STATE = "passkey_challenge"
_VERIFIED = UserVerificationRequirement.REQUIRED
_WRONG = "The passkey wasn't accepted. Try again."
_COPIED = "The passkey wasn't accepted: it counts fewer uses than before, so there may be a copy of it. Use another factor."


def why_no_passkeys() -> str:
    """Why browsers would refuse passkeys for PORTAL_URL. Empty if they don't."""
    url = urlsplit(settings.PORTAL_URL)
    host = url.hostname or ""
    if not _is_address(host) and (url.scheme == "https" or host == "localhost"):
        return ""
    return f"Passkeys need a portal with HTTPS and a host name. PORTAL_URL is {settings.PORTAL_URL}."


def ask_for_new_passkey(request: HttpRequest, member: Member) -> str:
    """The options for the browser, as JSON. The challenge is kept in the session."""
    user = PublicKeyCredentialUserEntity(id=str(member.pk).encode(), name=member.email, display_name=member.name)
    known = [_credential(passkey) for passkey in Passkey.objects.filter(member=member)]
    options, request.session[_STATE] = _server().register_begin(
        user, known, resident_key_requirement=ResidentKeyRequirement.PREFERRED, user_verification=_VERIFIED
    )
    return json.dumps(dict(options)["publicKey"])


def ask_for_passkey(request: HttpRequest, member: Member) -> str:
    """The same for the passkeys that the member has. Empty if there are none, or none can be used here."""
    known = [_credential(passkey) for passkey in Passkey.objects.filter(member=member)]
    if not known or why_no_passkeys():
        return ""
    options, request.session[_STATE] = _server().authenticate_begin(known, user_verification=_VERIFIED)
    return json.dumps(dict(options)["publicKey"])


def read_new_passkey(request: HttpRequest, answer: str) -> Passkey:
    """The passkey that the browser has made, not stored yet. Raises WrongSecondFactor."""
    state = _asked(request)
    try:
        made = _server().register_complete(state, json.loads(answer))
        credential = made.credential_data
        if credential is None or credential.public_key.get(3) not in CoseKey.supported_algorithms():
            raise ValueError("no key of a known kind")
    except Exception as error:  # the library raises many kinds of them about bytes that it can't read
        raise WrongSecondFactor(_WRONG) from error
    return Passkey(
        credential_id=websafe_encode(credential.credential_id), credential=websafe_encode(credential), sign_count=made.counter
    )


def check_passkey(request: HttpRequest, member: Member, answer: str) -> None:
    """Accept the answer of one of the member's passkeys, once. Raises WrongSecondFactor."""
    state, known = _asked(request), [_credential(passkey) for passkey in Passkey.objects.filter(member=member)]
    try:
        response = AuthenticationResponse.from_dict(json.loads(answer))
        credential = _server().authenticate_complete(state, known, response)
        count = response.response.authenticator_data.counter
    except Exception as error:
        raise WrongSecondFactor(_WRONG) from error
    higher = Q(sign_count__lt=count) if count else Q(sign_count=0)
    used = Passkey.objects.filter(higher, member=member, credential_id=websafe_encode(credential.credential_id))
    if not used.update(sign_count=count, last_used=Now()):
        raise WrongSecondFactor(_COPIED)


def _asked(request: HttpRequest) -> dict[str, Any]:
    """The challenge of the page, for one answer."""
    state: dict[str, Any] | None = request.session.pop(_STATE, None)
    if state is None:
        raise WrongSecondFactor(_WRONG)
    return state


def _credential(passkey: Passkey) -> AttestedCredentialData:
    return AttestedCredentialData(websafe_decode(passkey.credential))


def _server() -> Fido2Server:
    url = urlsplit(settings.PORTAL_URL)
    origin = f"{url.scheme}://{url.netloc.lower()}"
    party = PublicKeyCredentialRpEntity(id=url.hostname, name=f"{settings.ORGANIZATION_NAME} Email Portal")
    return Fido2Server(party, verify_origin=lambda asked: asked == origin)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
