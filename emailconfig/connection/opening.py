"""Open a connection to a stage's SMTP server, step by step.

The steps are name, TCP, greeting, EHLO, TLS, token and sign-in. A failure raises ConnectionTrouble with the step, the server's
own reply and how to fix it. Neither a sign-in nor a message is sent over a connection that is less secure than the settings
require (RFC 3207, RFC 8314).
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog

from emailconfig.connection import networks, sign_in, tokens
from emailconfig.connection.smtp import REPLY_SECONDS, Smtp, cut_after, printable
from emailconfig.connection.trouble import ConnectionTrouble, explained
from emailconfig.models import SmtpSettings
from organization.installation import EHLO_KEYWORD, installation_id

log = structlog.get_logger(__name__)

OPENING_SECONDS = 60.0
# The server doesn't know EHLO, so HELO is tried (RFC 5321 section 3.2). After any other refusal it may close the connection.
_NO_EHLO = (500, 502)


class Step(NamedTuple):
    name: str
    act: Callable[[], None]


def connect(settings: SmtpSettings) -> Smtp:
    """Open a connection that is ready for MAIL FROM.

    If the server refuses a token, a new one is requested once. Raises ConnectionTrouble or SettingsDeleted.
    """
    first = Opening(settings, tokens.token_of)
    try:
        return _open(first)
    except ConnectionTrouble as trouble:
        if exact := trouble.for_operator:
            log.warning(trouble.code, stage=settings.stage_id, step=trouble.step, reason=exact.code, evidence=exact.evidence)
        if not tokens.is_worth_another(trouble):
            raise
        tokens.drop(settings, first.token)
        return _open(Opening(settings, tokens.token_of))


def _open(opening: Opening) -> Smtp:
    try:
        with cut_after(opening.smtp, OPENING_SECONDS) as over:
            for step in opening.steps():
                perform(step, over_in_time=over.is_set)
    except BaseException:
        opening.smtp.close()
        raise
    opening.smtp.listening = False
    return opening.smtp


def perform(step: Step, over_in_time: Callable[[], bool]) -> None:
    """Take one step. Raises ConnectionTrouble.

    Its code is too_slow if the time limit for all steps was reached.
    """
    try:
        with explained(step.name):
            step.act()
    except ConnectionTrouble as trouble:
        if over_in_time():
            raise ConnectionTrouble(step.name, "too_slow", trouble.evidence) from trouble
        raise


class Opening:
    """A connection that is being opened.

    `token_for` returns the OAuth 2.0 token for settings that need one.
    """

    def __init__(self, settings: SmtpSettings, token_for: Callable[[SmtpSettings], str]) -> None:
        self.settings, self.token_for = settings, token_for
        self.smtp = Smtp(settings.server, settings.hello)
        self._addresses: list[networks.Address] = []
        self.token = ""

    def steps(self) -> Iterator[Step]:
        settings = self.settings
        yield Step("name", self._resolve)
        yield Step("TCP", self._reach)
        if settings.security == SmtpSettings.Security.TLS:
            yield Step("TLS", self._encrypt)
        yield Step("greeting", self._greet)
        yield Step("EHLO", self._say_hello)
        if settings.security == SmtpSettings.Security.STARTTLS:
            yield Step("STARTTLS", self._start_tls)
        if settings.authentication == SmtpSettings.Authentication.OAUTH2:
            yield Step("token", self._get_token)
        if settings.authentication != SmtpSettings.Authentication.NONE:
            yield Step("AUTH", self._sign_in)

    def _resolve(self) -> None:
        self._addresses = networks.resolve(self.settings.server, self.settings.port)
        self.smtp.note(f"{self.settings.server} is {', '.join(map(str, self._addresses))}")

    def _reach(self) -> None:
        try:
            self.smtp.sock = networks.reach(self._addresses)
        except OSError as error:
            if all(address.is_ipv6 for address in self._addresses) and networks.has_no_route(error):
                raise ConnectionTrouble("TCP", "ipv6_unreachable", error.strerror or "") from error
            raise
        self.smtp.sock.settimeout(REPLY_SECONDS)
        self.smtp.note(f"Connected to {_written(self.smtp.sock.getpeername())}")

    def _greet(self) -> None:
        try:
            with explained("greeting"):
                code, reply = self.smtp.getreply()
                if code != 220:
                    raise smtplib.SMTPConnectError(code, reply)
        except ConnectionTrouble as trouble:
            if trouble.code == "silent" and self.settings.port == 465:
                raise ConnectionTrouble("greeting", "tls_expected", trouble.evidence) from trouble
            raise

    def _say_hello(self) -> None:
        code, reply = self.smtp.ehlo()
        if code in _NO_EHLO:
            code, reply = self.smtp.helo()
        if not 200 <= code < 300:
            raise smtplib.SMTPHeloError(code, reply)
        if self.smtp.esmtp_features.get(EHLO_KEYWORD.lower()) == installation_id():
            raise ConnectionTrouble("EHLO", "own_gateway", f"{self.settings} announces {EHLO_KEYWORD} {installation_id()}.")

    def _start_tls(self) -> None:
        if not self.smtp.has_extn("starttls"):
            raise ConnectionTrouble("STARTTLS", "starttls_not_offered", f"{self.settings} doesn't announce it.")
        code, reply = self.smtp.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, reply)
        if injected := self.smtp.unread():
            raise ConnectionTrouble("STARTTLS", "starttls_injection", printable(injected.decode("utf-8", "replace")))
        self._encrypt()
        self._say_hello()

    def _get_token(self) -> None:
        self.token = self.token_for(self.settings)
        self.smtp.note(f"{self.settings.token_url} gave a token")

    def _sign_in(self) -> None:
        if self.settings.authentication == SmtpSettings.Authentication.OAUTH2:
            sign_in.with_token(self.smtp, self.settings.mailbox, self.token)
        else:
            sign_in.with_password(self.smtp, self.settings.username, self.settings.reveal_secret())

    def _encrypt(self) -> None:
        """Start verified TLS.

        What the server said before is discarded (RFC 3207 section 4.2).
        """
        plain = self.smtp.sock
        if plain is None:
            raise smtplib.SMTPServerDisconnected("The server closed the connection.")
        context = _tls_context(self.settings)
        # The handshake starts only after the socket is in `smtp`, where cut_after() can end it.
        sock = context.wrap_socket(plain, server_hostname=self.settings.server, do_handshake_on_connect=False)
        self.smtp.sock, self.smtp.file = sock, None
        sock.do_handshake()
        self.smtp.note(f"{sock.version()}, {(sock.cipher() or ('',))[0]}")
        self.smtp.note(_certificate(sock.getpeercert() or {}))


def _tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    """A context that verifies certificates and uses TLS 1.2 or newer.

    It trusts the system's authorities, or only the stage's own CA if there is one.
    """
    context = ssl.create_default_context(cadata=settings.ca_certificate or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _certificate(certificate: Any) -> str:
    """The names, the issuer and the end date of a certificate."""
    names = [name for _, name in certificate.get("subjectAltName", ())]
    issuer = dict(part[0] for part in certificate.get("issuer", ()))
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    by = issuer.get("organizationName") or issuer.get("commonName", "")
    days = (until - datetime.now(UTC)).days
    return f"Certificate for {', '.join(names[:5])}; issued by {by}; valid until {until:%Y-%m-%d} ({days} days left)"


def _written(peer: Any) -> str:
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
