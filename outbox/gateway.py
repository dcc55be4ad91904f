"""The SMTP gateway: takes mail from any library, signed in with an app's credential, and ends in `submit()`.

`250` means committed. RFC 6409 (submission), 4954 (AUTH), 3207 (STARTTLS), 1870 (SIZE), 6152 (8BITMIME),
6531 (SMTPUTF8), 2920 (PIPELINING).
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from django.conf import settings
from django.core.mail.utils import DNS_NAME
from django.db import DatabaseError, InterfaceError, close_old_connections

from organization import sql
from organization.credentials import authenticate, is_known
from organization.models import Credential
from outbox import submission
from outbox.acceptance import Acceptance, Handed
from outbox.gateway_certificate import CertificateWatch, load_into
from outbox.gateway_content import ContentRefused, read_content
from outbox.heartbeat import Heartbeat
from outbox.submission import SubmissionRefused, check_recipient, check_sender

log = structlog.get_logger(__name__)

T = TypeVar("T")

COMMAND_TIMEOUT_SECONDS = 120
_NULL_SENDER = "<>"
# RFC 5321 section 4.1.2: a Path whose local part is a Dot-string, and the parameters that follow it.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_PLAIN_PATH = re.compile(rf"<({_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*)>(?: +([!-~ ]*))?")
_TRY_AGAIN = "451 4.3.0 The mail could not be stored. Nothing was accepted; try again later."
_NO_SPACE = "452 4.3.1 The portal's storage is full. Nothing was accepted; try again later."
# Sign-ins are checked here, off the event loop: each thread has its own database connection.
_database = ThreadPoolExecutor(max_workers=4, thread_name_prefix="gateway-database")


class GatewayServer(SMTP):
    """One client's connection."""

    def __init__(self, acceptance: Acceptance, tls_context: ssl.SSLContext | None) -> None:
        self.acceptance = acceptance
        super().__init__(
            GatewayHandler(),
            hostname=str(DNS_NAME),
            ident="ODC Email Portal",
            data_size_limit=settings.MESSAGE_MAX_BYTES,
            enable_SMTPUTF8=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            tls_context=tls_context,
            auth_required=True,
            auth_require_tls=tls_context is not None,
            authenticator=_keep_for_checking,
            loop=asyncio.get_running_loop(),
        )

    def _reset_timeout(self, duration: float | None = None) -> None:
        """aiosmtpd's own makes a timer for each command. This one goes on, and looks when it was asked last."""
        self._heard = self.loop.time()
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_later(self._timeout_duration, self._timeout_cb)

    def _timeout_cb(self) -> None:
        left = self._heard + self._timeout_duration - self.loop.time()
        if left > 0:
            self._timeout_handle = self.loop.call_later(left, self._timeout_cb)
        else:
            super()._timeout_cb()  # type: ignore[no-untyped-call]

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """aiosmtpd's own takes a third of the gateway's time, with a parser that knows comments and quoted words. Most addresses
        have neither; that parser still reads all others."""
        if plain := _PLAIN_PATH.fullmatch(arg):
            return plain[1], plain[2] or ""
        address, rest = super()._getaddr(arg)
        return address, None if rest is None else str(rest)

    async def smtp_DATA(self, arg: str) -> None:
        """As aiosmtpd's own, but for how the content is read (see gateway_content)."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        assert self.envelope is not None
        if not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 Error: need RCPT command")
        elif arg:
            await self.push("501 5.5.4 Syntax: DATA")
        else:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self.push(await self._take_content(self.envelope))

    async def _take_content(self, envelope: Envelope) -> str:
        """The answer to the content, which is read whatever becomes of it."""
        try:
            envelope.original_content = await read_content(self._reader, settings.MESSAGE_MAX_BYTES)
            return str(await self._call_handler_hook("DATA"))
        except ContentRefused as refused:
            return str(refused)
        except asyncio.CancelledError:  # the client is gone
            self._writer.close()
            raise
        finally:
            self._set_post_data_state()  # type: ignore[no-untyped-call]

    async def auth_PLAIN(self, _: Any, args: list[str]) -> AuthResult:
        return await _checked(await super().auth_PLAIN(_, args))

    async def auth_LOGIN(self, _: Any, args: list[str]) -> AuthResult:
        return await _checked(await super().auth_LOGIN(_, args))


def _keep_for_checking(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
    """aiosmtpd asks on the event loop, where the database can't be: `_checked` decides a moment later."""
    return AuthResult(success=True, auth_data=data)


async def _checked(parsed: AuthResult) -> AuthResult:
    """The credential in place of user name and password, or a refusal that doesn't say which of them was wrong."""
    if not parsed.success:
        return parsed
    signed: LoginPassword = parsed.auth_data  # type: ignore[assignment]  # what _keep_for_checking put there
    username, password = (part.decode("utf-8", "replace") for part in signed)
    try:
        credential = await _in_database(lambda: authenticate(username, password))
    except (DatabaseError, InterfaceError):
        return AuthResult(success=False, handled=False, message="454 4.7.0 Sign-in is not possible right now; try again later.")
    if credential is None:
        # What is no user name of ours may be a password that was typed in the wrong place.
        log.info("gateway_sign_in_refused", username=username if await _in_database(lambda: is_known(username)) else "unknown")
        return AuthResult(success=False, handled=False)
    return AuthResult(success=True, auth_data=credential)


class GatewayHandler:
    """What aiosmtpd asks at each command. Envelope addresses are refused where they stand, not after the content."""

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *responses[-1:]]

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        try:
            # An empty string would read as "no MAIL yet" to aiosmtpd, so the null sender stays as it is written.
            envelope.mail_from = check_sender(address) if address != _NULL_SENDER else _NULL_SENDER
        except SubmissionRefused as refused:
            return refused.reply
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if len(envelope.rcpt_tos) >= submission.MAX_RECIPIENTS:
            return f"452 4.5.3 Too many recipients: at most {submission.MAX_RECIPIENTS} in one mail."
        try:
            envelope.rcpt_tos.append(check_recipient(address))
        except SubmissionRefused as refused:
            return refused.reply
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: GatewayServer, session: Session, envelope: Envelope) -> str:
        credential: Credential = session.auth_data  # type: ignore[assignment]  # what _checked put there
        try:
            accepted = await server.acceptance.accept(_handed(credential, envelope, session))
        except SubmissionRefused as refused:
            return refused.reply
        except (DatabaseError, InterfaceError) as error:
            log.error("gateway_could_not_store", error=str(error))
            return _NO_SPACE if sql.is_out_of_space(error) else _TRY_AGAIN
        held = f" (held: {accepted.hold_reason.label})" if accepted.hold_reason else ""
        return f"250 2.0.0 Ok: queued as {accepted.pk}{held}"

    async def handle_exception(self, error: Exception) -> str:
        log.exception("gateway_error", exc_info=error)
        return _TRY_AGAIN


def _handed(credential: Credential, envelope: Envelope, session: Session) -> Handed:
    sender = "" if envelope.mail_from == _NULL_SENDER else envelope.mail_from or ""
    wanted = submission.Envelope(sender, envelope.rcpt_tos)
    client = str(session.peer[0]) if session.peer else ""
    return Handed(credential.pk, wanted, bytes(envelope.original_content or b""), client)


async def _in_database(work: Callable[[], T]) -> T:
    def run() -> T:
        close_old_connections()
        return work()

    return await asyncio.get_running_loop().run_in_executor(_database, run)


def tls_context() -> ssl.SSLContext | None:
    """The gateway's own certificate, when it has one. With it, nobody signs in before STARTTLS."""
    if not settings.GATEWAY_TLS_CERT:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_into(context)
    return context


async def serve(host: str, port: int, stop: asyncio.Event) -> None:
    """Accept connections until `stop` is set. Raises OSError when the port can't be had."""
    context, acceptance = tls_context(), Acceptance()
    server = await asyncio.get_running_loop().create_server(lambda: GatewayServer(acceptance, context), host, port)
    log.info("gateway_listening", host=host, port=port, starttls=context is not None)
    heartbeat = Heartbeat(CertificateWatch(context).look)
    heartbeat.start()
    async with server:
        await stop.wait()
        await asyncio.to_thread(heartbeat.stop)  # before anything else, so that balancers send nobody here any more
    log.info("gateway_stopped")
