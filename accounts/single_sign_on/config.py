"""The provider that the operator has named in `OIDC_*`, if any."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse

_DISCOVERY = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Provider:
    issuer: str
    client_id: str
    client_secret: str
    scopes: str
    groups_claim: str
    label: str

    @property
    def discovery_url(self) -> str:
        return self.issuer.rstrip("/") + _DISCOVERY


def provider() -> Provider | None:
    """None without single sign-on."""
    if not settings.OIDC_ISSUER or not settings.OIDC_CLIENT_ID:
        return None
    return Provider(
        issuer=settings.OIDC_ISSUER,
        client_id=settings.OIDC_CLIENT_ID,
        client_secret=settings.OIDC_CLIENT_SECRET,
        scopes=" ".join(dict.fromkeys(["openid", *settings.OIDC_SCOPES.split()])),
        groups_claim=settings.OIDC_GROUPS_CLAIM,
        label=settings.OIDC_LABEL,
    )


def callback_url() -> str:
    """Where the provider sends the browser back to. It is registered there, so it never comes from a request."""
    return str(settings.PORTAL_URL).rstrip("/") + reverse("single-sign-on-callback")
