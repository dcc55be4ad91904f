"""The gateway's TLS certificate.

Check that it can be used and when it expires, and load a renewed one without a restart.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from django.conf import settings

from gateway.exceptions import CertificateUnusable

log = structlog.get_logger(__name__)

SOON = timedelta(days=14)


def load_into(context: ssl.SSLContext) -> datetime:
    """Load certificate and key into `context`, and return when it expires.

    Raises CertificateUnusable. Then the context keeps its previous certificate.
    """
    certificate, key = settings.GATEWAY_TLS_CERT, settings.GATEWAY_TLS_KEY
    for name, file in (("GATEWAY_TLS_CERT", certificate), ("GATEWAY_TLS_KEY", key or certificate)):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise CertificateUnusable(f"{name}: {file} can't be read: {error.strerror}.") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key or None)
        context.load_cert_chain(certificate, key or None)
        return x509.load_pem_x509_certificate(Path(certificate).read_bytes()).not_valid_after_utc
    except (ssl.SSLError, ValueError) as error:
        fits = "KEY_VALUES_MISMATCH" not in str(error)
        words = f"can't be used: {error}" if fits else "don't belong together"
        raise CertificateUnusable(f"GATEWAY_TLS_CERT and GATEWAY_TLS_KEY {words}.") from error


def trouble() -> tuple[str, str]:
    """An error and a warning about the certificate, each one sentence or empty."""
    if not settings.GATEWAY_TLS_CERT:
        return "", ""
    try:
        return "", _ends_soon(load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)))
    except CertificateUnusable as unusable:
        return str(unusable), ""


def _ends_soon(ends: datetime) -> str:
    now = datetime.now(UTC)
    if ends > now + SOON:
        return ""
    return f"The gateway's certificate {'expires' if ends > now else 'expired'} on {ends:%Y-%m-%d}."


class CertificateWatch:
    """Load a renewed certificate into `context`, and report what is wrong with it."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._times: list[float] = []
        self._unusable = ""
        self._ends: datetime | None = None

    def look(self) -> str:
        """Load the certificate if it has changed; return a warning for the operator, or ""."""
        if self._context is not None and (times := _change_times()) != self._times:
            self._read(self._context, renewed=bool(self._times))
            self._times = times
        return self._unusable or (_ends_soon(self._ends) if self._ends else "")

    def _read(self, context: ssl.SSLContext, *, renewed: bool) -> None:
        try:
            self._ends, self._unusable = load_into(context), ""
        except CertificateUnusable as unusable:
            self._unusable = f"{unusable} The gateway continues with its previous certificate."
            log.error("gateway_certificate_unusable", error=str(unusable))
        else:
            if renewed:
                log.info("gateway_certificate_renewed", ends=self._ends.date().isoformat())


def _change_times() -> list[float]:
    files = [Path(file) for file in (settings.GATEWAY_TLS_CERT, settings.GATEWAY_TLS_KEY) if file]
    return [file.stat().st_mtime if file.exists() else 0.0 for file in files]
