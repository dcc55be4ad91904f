"""Speak OpenID Connect with the provider: discovery, the code flow with PKCE, state and nonce, and the ID token.

Authlib does that. Here is what must be true beyond it, what of the answer counts, and what its errors mean.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import requests
import structlog
import urllib3
from authlib.integrations.base_client.errors import MismatchingStateError, OAuthError
from authlib.integrations.django_client import DjangoIntegration, DjangoOAuth2App
from django.http import HttpRequest, HttpResponse
from joserfc.errors import JoseError

from accounts.exceptions import (
    ProviderUnreachable,
    RefusedByProvider,
    SingleSignOnRefused,
    StaleSignIn,
    UnusableAnswer,
)
from accounts.single_sign_on.config import Provider, callback_url
from accounts.single_sign_on.http_session import ProviderSession, is_safe_url
from common.text import is_storable
from emailconfig.exceptions import AddressRefused, NameNotUsable, NameServersSilent

log = structlog.get_logger(__name__)

# What the provider says about itself is asked again after so long. New keys are asked for at once.
_DISCOVERED_SECONDS = 3600.0
_LEEWAY_SECONDS = 60
_LONGEST_SUBJECT = 255  # OpenID Connect Core, section 2
_SIGNED_WITH_A_KEY_PAIR = ("RS", "ES", "PS", "Ed")  # neither `none` nor a secret that this client has too
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_USED = (*_ENDPOINTS, "issuer", "userinfo_endpoint")

Claims = Mapping[str, Any]


@dataclass(frozen=True)
class Person:
    """The person whom the provider has identified."""

    issuer: str
    subject: str
    verified_email: str  # empty unless the provider says that it has verified the address
    groups: frozenset[str]


class _ProviderApp(DjangoOAuth2App):
    client_cls = ProviderSession


def lead_to(provider: Provider, request: HttpRequest) -> HttpResponse:
    """Redirect the browser to the provider. Raises ProviderUnreachable or UnusableAnswer."""
    with _explaining(provider):
        redirect: HttpResponse = _app(provider).authorize_redirect(request, callback_url())
        return redirect


def person_of(provider: Provider, request: HttpRequest) -> Person:
    """The person with whom the browser comes back from the provider. Raises SingleSignOnRefused."""
    with _explaining(provider):
        app = _app(provider)
        options = {
            "iss": {"essential": True, "value": provider.issuer},
            "aud": {"essential": True, "value": provider.client_id},
        }
        token = app.authorize_access_token(request, claims_options=options, leeway=_LEEWAY_SECONDS)
        claims: Claims = token["userinfo"]  # of the ID token; missing without one
        return _person(provider, claims, _more_claims(provider, app, token, claims))


def _person(provider: Provider, claims: Claims, more: Claims) -> Person:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not is_storable(subject):
        raise ValueError("The subject isn't a text of 1 to 255 characters")
    address_source = claims if "email" in claims else more  # an address and what is said of it come from one place
    email = address_source.get("email")
    is_verified = address_source.get("email_verified") is True and isinstance(email, str)
    groups = {**more, **claims}.get(provider.groups_claim) or ()
    named = [groups] if isinstance(groups, str) else groups
    return Person(provider.issuer, subject, str(email) if is_verified else "", frozenset(map(str, named)))


def _more_claims(provider: Provider, app: Any, token: Any, claims: Claims) -> Claims:
    """What only the userinfo endpoint says. Some providers keep the address or the groups out of the ID token."""
    if {"email", provider.groups_claim} <= set(claims) or not app.server_metadata.get("userinfo_endpoint"):
        return {}
    more: Claims = app.userinfo(token=token)
    if more.get("sub") != claims["sub"]:
        raise ValueError("The userinfo endpoint speaks of another subject")
    return more


def _app(provider: Provider) -> Any:
    """Authlib's client, with what the provider has said about itself in this hour."""
    return _discover(provider, int(time.monotonic() // _DISCOVERED_SECONDS))


@lru_cache(maxsize=1)
def _discover(provider: Provider, _hour: int) -> Any:
    with ProviderSession() as session:
        answer = session.request("GET", provider.discovery_url, withhold_token=True)
    answer.raise_for_status()
    said = answer.json()
    if said["issuer"] != provider.issuer:
        raise ValueError(f"The provider calls itself {said['issuer']}, and OIDC_ISSUER is {provider.issuer}")
    metadata = {name: said[name] for name in _USED if name in said}
    if not all(is_safe_url(metadata[name]) for name in _ENDPOINTS):
        raise ValueError("An endpoint of the provider isn't https")
    metadata["id_token_signing_alg_values_supported"] = _algorithms(said)
    return _ProviderApp(
        DjangoIntegration("single_sign_on"),
        "single_sign_on",
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        client_kwargs={
            "scope": provider.scopes,
            "code_challenge_method": "S256",
            "token_endpoint_auth_method": _client_authentication(provider, said),
        },
        **metadata,
    )


def _algorithms(said: Claims) -> list[str]:
    """Those that need a key which only the provider has. With an empty list the library would take its own."""
    names = said.get("id_token_signing_alg_values_supported", ["RS256"])
    algorithms = [name for name in names if name.startswith(_SIGNED_WITH_A_KEY_PAIR)]
    if not algorithms:
        raise ValueError("The provider signs with no pair of keys")
    return algorithms


def _client_authentication(provider: Provider, said: Claims) -> str:
    """In a header, if the provider takes that; it is what RFC 8414 assumes."""
    if not provider.client_secret:
        return "none"
    methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"


@contextmanager
def _explaining(provider: Provider) -> Iterator[None]:
    """Turn what goes wrong with the provider into a SingleSignOnRefused. The details are for the log."""
    try:
        yield
    except (
        *(OAuthError, JoseError, OSError, urllib3.exceptions.HTTPError, NameNotUsable, NameServersSilent, AddressRefused),
        *(ValueError, KeyError, TypeError, AttributeError, RuntimeError),  # an answer of another shape
    ) as error:
        refusal = _refusal(provider, error)
        log.warning("single_sign_on_failed", reason=type(refusal).__name__, error=f"{type(error).__name__}: {error}"[:300])
        raise refusal from error


def _refusal(provider: Provider, error: Exception) -> SingleSignOnRefused:
    label = provider.label
    if isinstance(error, MismatchingStateError):
        return StaleSignIn("It took too long, or began in another browser. Sign in again.")
    if isinstance(error, OAuthError):
        return RefusedByProvider(_PROVIDERS_WORDS.get(str(error.error), _OTHER_ERROR).format(label=label))
    if isinstance(error, JoseError | requests.exceptions.JSONDecodeError) or not isinstance(error, _NO_CONNECTION):
        return UnusableAnswer(
            f"The answer of {label} doesn't prove who you are. Try again, and tell your operator if it goes on."
        )
    return ProviderUnreachable(f"{label} doesn't answer at the moment. Try again in a minute, or sign in with your password.")


_NO_CONNECTION = (OSError, urllib3.exceptions.HTTPError, NameNotUsable, NameServersSilent, AddressRefused)
_OTHER_ERROR = "{label} has refused the sign-in. Ask the people who run it, or your operator."
_MUST_ACT = "{label} needs you to do something first. Open it in another tab, sign in there, and try again."
# Errors of OAuth 2.0 and OpenID Connect. The provider's own description isn't shown, because a link could carry any text.
_PROVIDERS_WORDS = {
    "access_denied": "{label} says that you may not use this portal, or you have canceled. Ask the people who run {label}.",
    "login_required": _MUST_ACT,
    "interaction_required": _MUST_ACT,
    "consent_required": _MUST_ACT,
    "account_selection_required": _MUST_ACT,
    "temporarily_unavailable": "{label} is busy. Try again in a minute.",
    "server_error": "{label} has a problem of its own. Try again in a minute.",
    "invalid_grant": "The sign-in took too long, or the page was loaded twice. Sign in again.",
    "invalid_client": "{label} doesn't accept this portal's client secret. Tell your operator.",
}
