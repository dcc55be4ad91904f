"""What production must set, for `manage.py check --deploy`. Each message says what to do."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks

from organization.encryption import key_is_well_formed
from outbox import gateway_certificate

_NEW_KEY = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


@checks.register(checks.Tags.security, deploy=True)
def check_secrets(**_: Any) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    if settings.SECRET_KEY == settings.DEMO_SECRET_KEY:
        found.append(
            checks.Error("SECRET_KEY is the demo's.", hint="Set SECRET_KEY to 50 or more random characters.", id="portal.E001")
        )
    if settings.DEMO_ENCRYPTION_KEY in settings.ENCRYPTION_KEYS:
        found.append(
            checks.Error(
                "ENCRYPTION_KEYS is the demo's: stored SMTP passwords are as good as public.",
                hint=f"Set ENCRYPTION_KEYS to a key made with: {_NEW_KEY}",
                id="portal.E002",
            )
        )
    if not settings.ENCRYPTION_KEYS or not all(key_is_well_formed(key) for key in settings.ENCRYPTION_KEYS):
        found.append(
            checks.Error(
                "ENCRYPTION_KEYS holds something that isn't a key.",
                hint=f"Keys are separated by commas, newest first, each made with: {_NEW_KEY}",
                id="portal.E003",
            )
        )
    return found


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
def check_gateway_certificate(**_: Any) -> list[checks.CheckMessage]:
    unusable, ends_soon = gateway_certificate.trouble()
    if unusable:
        return [checks.Error(unusable, hint="Both are PEM files that the gateway's user can read.", id="portal.E007")]
    if ends_soon:
        return [checks.Warning(ends_soon, hint="Renew it. The gateway reads it again without a restart.", id="portal.W001")]
    return []


@checks.register()
def check_retention(**_: Any) -> list[checks.CheckMessage]:
    """Always, not only in production: a negative number would remove everything."""
    return [
        checks.Error(f"{name} must be 1 or more.", hint="It is a number of days.", id="portal.E006")
        for name in ("CONTENT_RETENTION_DAYS", "LOG_RETENTION_DAYS")
        if getattr(settings, name) < 1
    ]
