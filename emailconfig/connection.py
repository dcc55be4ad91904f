"""A verified connection to a stage's SMTP server: resolve, connect, greeting, EHLO, STARTTLS or TLS, sign-in.

Whatever fails on the way raises ConnectionTrouble with the step, the server's own words and what to do about it. No
sign-in and no mail on a connection that isn't what the settings ask for (RFC 3207, RFC 8314).
"""

from __future__ import annotations

import base64
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from django.core.mail.utils import DNS_NAME

from emailconfig.models import SmtpSettings
from organization.encryption import UndecryptableSecret

TIMEOUT_SECONDS = 30.0
CONNECT_SECONDS = 60.0


@dataclass
class ConnectionTrouble(Exception):
    """Why no mail can be handed over. `needs_a_person`: trying again won't help until somebody changes something."""

    step: str
    headline: str
    detail: str
    needs_a_person: bool = False

    def __str__(self) -> str:
        return f"{self.headline} {self.detail}".strip()


def connect(settings: SmtpSettings) -> smtplib.SMTP:
    """A connection ready for MAIL FROM. Raises ConnectionTrouble."""
    smtp = _unconnected(settings)
    try:
        with _cut_after(smtp, CONNECT_SECONDS):
            _greet(smtp, settings)
            _say_hello(smtp, settings)
            if settings.security == SmtpSettings.Security.STARTTLS:
                _start_tls(smtp, settings)
                _say_hello(smtp, settings)
            if settings.authentication == SmtpSettings.Authentication.BASIC:
                _sign_in(smtp, settings)
    except BaseException:
        smtp.close()
        raise
    return smtp


def _unconnected(settings: SmtpSettings) -> smtplib.SMTP:
    name = str(DNS_NAME)
    if settings.security == SmtpSettings.Security.TLS:
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(local_hostname=name, timeout=TIMEOUT_SECONDS, context=_tls_context(settings))
    else:
        smtp = smtplib.SMTP(local_hostname=name, timeout=TIMEOUT_SECONDS)
    # Certificates are checked against it. Only the constructor that connects at once sets it, and leaves no socket to watch.
    smtp._host = settings.server  # type: ignore[attr-defined]
    return smtp


@contextmanager
def _cut_after(smtp: smtplib.SMTP, seconds: float) -> Iterator[None]:
    """Each answer has its time limit; this is the one for all of them, for a server that drips."""
    done = threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):  # again and again: during the handshake there is no socket to cut yet
            cut(smtp)
            wait = 0.5

    threading.Thread(target=watch, name="connecting", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def cut(smtp: smtplib.SMTP) -> None:
    """End a connection from another thread: whoever waits on it sees it broken."""
    sock = smtp.sock
    if sock is not None:
        with suppress(OSError):
            # Not SSLSocket's own: it drops the encryption first, and a thread that still writes would write plain text.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _greet(smtp: smtplib.SMTP, settings: SmtpSettings) -> None:
    with _explained("connect", settings):
        code, reply = smtp.connect(settings.server, settings.port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, reply)


def _say_hello(smtp: smtplib.SMTP, settings: SmtpSettings) -> None:
    with _explained("EHLO", settings):
        code, reply = smtp.ehlo()
        if not 200 <= code < 300:
            code, reply = smtp.helo()
        if not 200 <= code < 300:
            raise smtplib.SMTPHeloError(code, reply)


def _start_tls(smtp: smtplib.SMTP, settings: SmtpSettings) -> None:
    if not smtp.has_extn("starttls"):
        raise ConnectionTrouble(
            "STARTTLS",
            "The server doesn't offer STARTTLS.",
            f"Security is set to STARTTLS, but {settings} doesn't announce it. Is this the right port? "
            "Port 465 usually wants TLS from the start.",
            needs_a_person=True,
        )
    with _explained("STARTTLS", settings):
        code, reply = smtp.starttls(context=_tls_context(settings))
        if code != 220:
            raise smtplib.SMTPResponseException(code, reply)


def _sign_in(smtp: smtplib.SMTP, settings: SmtpSettings) -> None:
    """AUTH PLAIN or LOGIN, in UTF-8 (RFC 4616): smtplib's own login() can't send a password outside ASCII."""
    try:
        password = settings.password.reveal()
    except UndecryptableSecret as error:
        raise ConnectionTrouble(
            "AUTH", "The stored password can't be read.", f"{error} Enter the password again.", needs_a_person=True
        ) from error
    mechanisms = smtp.esmtp_features.get("auth", "").upper().split()
    plain = _b64("\0" + settings.username + "\0" + password)
    with _explained("AUTH", settings), _without(password, _b64(password), plain):
        if "PLAIN" in mechanisms:
            code, reply = smtp.docmd("AUTH", "PLAIN " + plain)
        elif "LOGIN" in mechanisms:
            code, reply = smtp.docmd("AUTH", f"LOGIN {_b64(settings.username)}")
            if code == 334:
                code, reply = smtp.docmd(_b64(password))
        else:
            raise ConnectionTrouble(
                "AUTH",
                "The server offers no sign-in by password.",
                f"It announces: {' '.join(mechanisms) or 'no AUTH at all'}.",
                needs_a_person=True,
            )
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, reply)


@contextmanager
def _without(*secrets: str) -> Iterator[None]:
    """A server may repeat in its answer what it was told: secrets don't come back out that way."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        for secret in secrets:
            text = text.replace(secret, "…")
        raise smtplib.SMTPAuthenticationError(error.smtp_code, text) from None


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    """Verifies against the system's authorities, or the stage's own CA alone; TLS 1.2 or newer."""
    context = ssl.create_default_context(cadata=settings.ca_certificate or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def _explained(step: str, settings: SmtpSettings) -> Iterator[None]:
    """Turns what the libraries raise into ConnectionTrouble with the server's words."""
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise ConnectionTrouble(
            step,
            f"{settings} refused the sign-in.",
            words(error.smtp_code, error.smtp_error),
            needs_a_person=error.smtp_code >= 500,
        ) from error
    except smtplib.SMTPResponseException as error:
        raise ConnectionTrouble(step, f"{settings} refused the connection.", words(error.smtp_code, error.smtp_error)) from error
    except ssl.SSLCertVerificationError as error:
        raise ConnectionTrouble(
            step, f"The certificate of {settings} can't be verified.", error.verify_message, needs_a_person=True
        ) from error
    except ssl.SSLError as error:
        raise ConnectionTrouble(
            step, f"No TLS connection with {settings}.", f"{error.reason or error}. Do security and port belong together?"
        ) from error
    except socket.gaierror as error:
        raise ConnectionTrouble(step, f"The name {settings.server} can't be resolved.", error.strerror or str(error)) from error
    except (OSError, smtplib.SMTPException) as error:
        raise ConnectionTrouble(step, f"{settings} can't be reached.", _reason(error)) from error


def words(code: int, reply: bytes | str) -> str:
    """The server's reply as it is shown and stored: the code and its text, cleaned and at most 1,000 characters."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    text = "".join(character if character.isprintable() else " " for character in text)
    return f"{code} {' '.join(text.split())}"[:1000]


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"No answer within {TIMEOUT_SECONDS:.0f} seconds."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return str(error) or type(error).__name__
