"""The checks of what production must set, for `manage.py check`. Each message says what to do.

With published keys, no process that uses the database starts at all (`refuse_published_keys`).
"""

from __future__ import annotations

import sys
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks

from common.encryption import key_is_well_formed
from gateway import certificate
from organization.installation import installation_id

_NEW_KEY = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


@checks.register(checks.Tags.security)
def check_published_keys(**_: Any) -> list[checks.CheckMessage]:
    """Check always, not only with --deploy. The demo sets DEBUG, so it may use them."""
    errors: list[checks.CheckMessage] = []
    if settings.DEBUG:
        return errors
    if settings.SECRET_KEY == settings.DEMO_SECRET_KEY:
        hint = "Set SECRET_KEY to 50 or more random characters."
        errors.append(checks.Error("SECRET_KEY is the published one of the demo.", hint=hint, id="portal.E001"))
    if settings.DEMO_ENCRYPTION_KEY in settings.ENCRYPTION_KEYS:
        hint = f"Set ENCRYPTION_KEYS to a key made with: {_NEW_KEY}"
        errors.append(checks.Error("ENCRYPTION_KEYS holds the published key of the demo.", hint=hint, id="portal.E002"))
    return errors


def refuse_published_keys(exit_code: int = 1) -> None:
    """End the process with one clear line if it would use published keys."""
    if errors := check_published_keys():
        reasons = " ".join(f"{error.msg} {error.hint}" for error in errors)
        sys.stderr.write(f"{reasons} (Set DEBUG=true only to try the portal out.)\n")
        raise SystemExit(exit_code)


@checks.register(checks.Tags.security, deploy=True)
def check_encryption_keys(**_: Any) -> list[checks.CheckMessage]:
    if settings.ENCRYPTION_KEYS and all(key_is_well_formed(key) for key in settings.ENCRYPTION_KEYS):
        return []
    hint = f"Keys are separated by commas, newest first, each made with: {_NEW_KEY}"
    return [checks.Error("ENCRYPTION_KEYS holds something that isn't a key.", hint=hint, id="portal.E003")]


@checks.register(checks.Tags.security, deploy=True)
def check_gateway(**_: Any) -> list[checks.CheckMessage]:
    if bool(settings.GATEWAY_TLS_CERT) != bool(settings.GATEWAY_TLS_KEY):
        return [
            checks.Error(
                "GATEWAY_TLS_CERT and GATEWAY_TLS_KEY belong together.",
                hint="Set both to PEM files, or neither.",
                id="portal.E004",
            )
        ]
    if settings.GATEWAY_TLS_PORT and not settings.GATEWAY_TLS_CERT:
        return [
            checks.Error(
                "GATEWAY_TLS_PORT needs a certificate.",
                hint="Set GATEWAY_TLS_CERT and GATEWAY_TLS_KEY to PEM files.",
                id="portal.E004",
            )
        ]
    if not settings.GATEWAY_TLS_CERT and settings.GATEWAY_HOST not in ("127.0.0.1", "::1", "localhost"):
        return [
            checks.Error(
                f"The gateway listens on {settings.GATEWAY_HOST} without TLS: credentials would cross the network in clear.",
                hint="Set GATEWAY_TLS_CERT and GATEWAY_TLS_KEY, or GATEWAY_HOST=127.0.0.1.",
                id="portal.E005",
            )
        ]
    return []


@checks.register(checks.Tags.security, deploy=True)
def check_proxies(**_: Any) -> list[checks.CheckMessage]:
    if not settings.BEHIND_PROXY or ip_network("0.0.0.0/0") not in settings.TRUSTED_PROXIES:
        return []
    hint = "Name your proxy's addresses or networks in TRUSTED_PROXIES, and remove BEHIND_PROXY."
    message = "BEHIND_PROXY trusts the X-Forwarded-For and X-Forwarded-Proto of everyone who reaches the portal."
    return [checks.Warning(message, hint=hint, id="portal.W001")]


def check_gateway_certificate(**_: Any) -> list[checks.CheckMessage]:
    unusable, ends_soon = certificate.trouble()
    if unusable:
        return [checks.Error(unusable, hint="Both are PEM files that the gateway's user can read.", id="portal.E007")]
    if ends_soon:
        return [checks.Warning(ends_soon, hint="Renew it. The gateway reads it again without a restart.", id="portal.W002")]
    return []


@checks.register()
def check_retention(**_: Any) -> list[checks.CheckMessage]:
    """Check always, not only in production. A negative number would remove everything."""
    return [
        checks.Error(f"{name} must be 1 or more.", hint="It is a number of days.", id="portal.E006")
        for name in ("CONTENT_RETENTION_DAYS", "LOG_RETENTION_DAYS")
        if getattr(settings, name) < 1
    ]


@checks.register(checks.Tags.security, deploy=True)
def check_portal_url(**_: Any) -> list[checks.CheckMessage]:
    url = urlsplit(settings.PORTAL_URL)
    if url.scheme in ("http", "https") and url.hostname not in (None, "127.0.0.1", "::1", "localhost"):
        return []
    return [
        checks.Error(
            f"PORTAL_URL is “{settings.PORTAL_URL}”: links in emails would lead nowhere.",
            hint="Set it to the URL at which people open the portal, such as https://portal.example.com.",
            id="portal.E020",
        )
    ]


@checks.register()
def check_installation_id(**_: Any) -> list[checks.CheckMessage]:
    """Check always. Without the id no message can be sent."""
    try:
        installation_id()
    except FileNotFoundError:
        return []  # the database's folder is missing: the database says so
    except (OSError, ValueError) as error:
        return [
            checks.Error(
                f"This installation has no id: {error}",
                hint="Set INSTALLATION_ID to letters, digits and hyphens, the same for all processes.",
                id="portal.E021",
            )
        ]
    return []


@checks.register(checks.Tags.security, deploy=True)
def check_installation_id_is_shared(**_: Any) -> list[checks.CheckMessage]:
    """Check that all machines use the same id. They share a PostgreSQL database, but no file."""
    if settings.INSTALLATION_ID or settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return []
    return [
        checks.Error(
            "INSTALLATION_ID isn't set: each machine would act as a separate installation.",
            hint="Set it to a name of this installation, such as acme-production, the same for all its processes.",
            id="portal.E022",
        )
    ]


@checks.register(checks.Tags.security)
def check_single_sign_on(**_: Any) -> list[checks.CheckMessage]:
    """Check always. With half of it the sign-in page would silently offer nothing."""
    if bool(settings.OIDC_ISSUER) == bool(settings.OIDC_CLIENT_ID):
        return []
    hint = "Set both to what the provider says, or neither."
    return [checks.Error("OIDC_ISSUER and OIDC_CLIENT_ID belong together.", hint=hint, id="portal.E023")]
