"""The SMTP gateway: accept messages from apps that sign in with a credential.

Every message goes through the outbox's submission, and `250` means committed. RFC 6409 (submission), 4954 (AUTH), 3207
(STARTTLS), 8314 (implicit TLS), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 2920 (PIPELINING).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session, TLSSetupException
from django.conf import settings
from django.core.mail.utils import DNS_NAME
from django.db import DatabaseError, InterfaceError, close_old_connections

from common import sql
from gateway.aiosmtpd_overrides import SmtpConnection, hang_up
from gateway.batching import Acceptance, ReceivedMessage
from gateway.certificate import CertificateWatch, load_into
from gateway.command_parser import address_in, read_mail, read_rcpt
from gateway.connection_limits import TOO_MANY, Connections, SeldomLog, limits, plain_address
from gateway.data_reader import read_content
from gateway.exceptions import AcceptanceStopped, ContentRefused
from gateway.failed_sign_ins import MAX_PER_CONNECTION, TOO_MANY_FAILED_SIGN_INS, count_failed_sign_in
from gateway.heartbeat import Heartbeat
from organization.credentials import authenticate
from organization.exceptions import CredentialRefused
from organization.installation import EHLO_KEYWORD, installation_id
from organization.models import Credential
from outbox import submission
from outbox.access.masking import for_log
from outbox.exceptions import SubmissionRefused
from outbox.models import Source
from outbox.refusals import RefusalRecorder, refusal
from outbox.submission import check_recipient, check_sender
from outbox.values import AcceptedMessage

log = structlog.get_logger(__name__)

T = TypeVar("T")

SILENCE_SECONDS = 120
# How long a stopping gateway waits for the messages that it is receiving, and after that for their clients to get an answer.
STOP_SECONDS = 25.0
GIVE_UP_SECONDS = 3.0
_NULL_SENDER = "<>"
_TRY_AGAIN = "451 4.3.0 The email could not be stored. Nothing was accepted; try again later."
_NO_SPACE = "452 4.3.1 The portal's storage is full. Nothing was accepted; try again later."
_SILENT = "421 4.4.2 Timeout: the client sent nothing for too long"
_STOPPING = "421 4.3.2 The gateway is stopping; try again later"
_NOT_STORED = "421 4.3.2 The gateway is stopping. Nothing was accepted; try again later."
SIGN_INS_AT_ONCE = 4


class SmtpGateway:
    """The state that all connections of a gateway share."""

    def __init__(self) -> None:
        now = asyncio.get_running_loop().time
        self.tls_context = tls_context()
        self.connections = Connections(limits(), now)
        self.acceptance = Acceptance()
        self.refusals = RefusalRecorder()
        self._database = ThreadPoolExecutor(SIGN_INS_AT_ONCE, thread_name_prefix="gateway-database")
        self._stopping = False

    def admit(self, connection: GatewayServer, address: str) -> str:
        """Admit a connection, and return "" or the reply with which it is refused."""
        if self._stopping:  # the connection came at the last moment
            return _STOPPING
        return "" if self.connections.admit(connection, address) else TOO_MANY

    async def in_database(self, work: Callable[[], T]) -> T:
        """Run `work` on a thread with its own database connection, off the event loop."""

        def run() -> T:
            close_old_connections()
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._database, run)

    async def stop(self) -> None:
        """Answer the messages that are being received; tell other clients to try later."""
        log.info("gateway_stopping", connections=len(self.connections))
        self._stopping = True
        for connection in self.connections:
            connection.leave()
        await self._gone(STOP_SECONDS)
        unanswered = self.acceptance.give_up()
        await self._gone(GIVE_UP_SECONDS)
        for connection in self.connections:
            connection.hang_up(_STOPPING)
        self._database.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.refusals.close, GIVE_UP_SECONDS)
        log.info("gateway_stopped", not_stored=unanswered)

    async def _gone(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.connections.wait_until_none(), seconds)


class GatewayServer(SmtpConnection):
    """One client's connection."""

    def __init__(self, gateway: SmtpGateway, *, implicit_tls: bool = False) -> None:
        self._gateway = gateway
        self._in_data = False  # from DATA until its content is answered
        self._answer_due = False  # the client waits for our answer
        self._leaving = False
        self._failed_sign_ins = 0
        super().__init__(
            GatewayHandler(),
            silence_seconds=SILENCE_SECONDS,
            implicit_tls=implicit_tls,
            hostname=str(DNS_NAME),
            ident="ODC Email Portal",
            data_size_limit=settings.MESSAGE_MAX_BYTES,
            enable_SMTPUTF8=True,
            tls_context=gateway.tls_context,
            auth_required=True,
            auth_require_tls=gateway.tls_context is not None,
            authenticator=_keep_for_checking,
            loop=asyncio.get_running_loop(),
        )

    # Coming and going.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self.transport is None and (refused := self._gateway.admit(self, _peer(transport))):
            transport.set_protocol(asyncio.Protocol())
            hang_up(transport, "" if self._implicit_tls else refused)
            return
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._gateway.connections.remove(self)
        super().connection_lost(error)

    @property
    def is_waited_for(self) -> bool:
        return not self._answer_due

    @property
    def credential(self) -> Credential | None:
        """The credential of the client, or None before it has signed in."""
        return self.session.auth_data if self.session and self.session.authenticated else None

    def leave(self) -> None:
        """End the connection, after a message that is being received is answered."""
        self._leaving = True
        if not self._in_data:
            self.hang_up(_STOPPING)

    def client_is_silent(self) -> None:
        step = "DATA" if self._in_data else "command"
        log.info("gateway_client_silent", **self._whose, step=step, seconds=SILENCE_SECONDS)
        if self._in_data:
            self._keep_trace("DATA", self._recipient, _SILENT)
        self.hang_up(_SILENT)

    # The commands.

    async def smtp_AUTH(self, arg: str) -> None:
        await super().smtp_AUTH(arg)
        if self.credential is not None:
            self._gateway.connections.signed_in(self)
        elif self._failed_sign_ins >= MAX_PER_CONNECTION:
            self.hang_up(TOO_MANY_FAILED_SIGN_INS)

    async def smtp_MAIL(self, arg: str | None) -> None:
        if await self.check_helo_needed() or await self.check_auth_needed("MAIL"):
            return
        assert self.envelope is not None
        if self.envelope.mail_from:
            await self.push("503 5.5.1 The last email isn't finished: send DATA or RSET first")
            return
        try:
            address, self.envelope.smtp_utf8 = read_mail(arg)
            # aiosmtpd takes an empty string for "no MAIL yet".
            self.envelope.mail_from = check_sender(address) or _NULL_SENDER
        except SubmissionRefused as refused:
            await self._refuse("MAIL", address_in(arg), refused.reply)
        else:
            await self.push("250 2.1.0 Ok")

    async def smtp_RCPT(self, arg: str | None) -> None:
        if await self.check_helo_needed() or await self.check_auth_needed("RCPT"):
            return
        assert self.envelope is not None
        if not self.envelope.mail_from:
            await self.push("503 5.5.1 Send MAIL first")
            return
        try:
            address = read_rcpt(arg)
            if len(self.envelope.rcpt_tos) >= submission.MAX_RECIPIENTS:
                raise SubmissionRefused(452, "4.5.3", f"Too many recipients: at most {submission.MAX_RECIPIENTS} in one email.")
            self.envelope.rcpt_tos.append(check_recipient(address))
        except SubmissionRefused as refused:
            await self._refuse("RCPT", address_in(arg), refused.reply)
        else:
            await self.push("250 2.1.5 Ok")

    async def smtp_DATA(self, arg: str | None) -> None:
        """As aiosmtpd's own, except for reading the content (see data_reader)."""
        if await self.check_helo_needed() or await self.check_auth_needed("DATA"):
            return
        assert self.envelope is not None
        if not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 Send RCPT first")
        elif arg:
            await self.push("501 5.5.4 Syntax: DATA")
        else:
            self._in_data = True
            try:
                await self.push("354 End data with <CR><LF>.<CR><LF>")
                await self._take(self.envelope)
            finally:
                self._in_data = self._answer_due = False
                self.forget_envelope()
            if self._leaving:
                self.hang_up(_STOPPING)

    async def smtp_VRFY(self, arg: str | None) -> None:
        """Accept the address unverified: only the stage's server knows its recipients."""
        if not await self.check_auth_needed("VRFY"):
            await self.push("252 2.1.5 The address can't be verified, but email to it is accepted")

    async def _take(self, envelope: Envelope) -> None:
        """Read the content, store the message, and answer.

        All of the content is read even if it is refused.
        """
        try:
            content = await self.read_content(lambda reader: read_content(reader, settings.MESSAGE_MAX_BYTES))
            self._answer_due = True
            await self.push(await self._store(envelope, content))
        except ContentRefused as refused:
            await self._refuse("DATA", self._recipient, str(refused))
        except SubmissionRefused as refused:
            await self._refuse("DATA", self._recipient, refused.reply)
        except (DatabaseError, InterfaceError) as error:
            log.error("gateway_could_not_store", **self._whose, error=str(error))
            await self.push(_NO_SPACE if sql.is_out_of_space(error) else _TRY_AGAIN)
        except AcceptanceStopped:
            await self.push(_NOT_STORED)

    async def _store(self, envelope: Envelope, content: bytes) -> str:
        credential = self.credential
        assert credential is not None
        sender = "" if envelope.mail_from == _NULL_SENDER else envelope.mail_from or ""
        handed = ReceivedMessage(credential, submission.Envelope(sender, envelope.rcpt_tos), content, self.client)
        accepted = await self._gateway.acceptance.accept(handed)
        return f"250 2.0.0 Ok: queued as {accepted.pk}{_fate(accepted)}"

    # Signing in.

    async def sign_in(self, parsed: AuthResult) -> AuthResult:
        """Exchange username and password for the credential, or refuse.

        The refusal doesn't say which of the two was wrong.
        """
        if not parsed.success:
            return parsed
        signed: LoginPassword = parsed.auth_data  # type: ignore[assignment]  # set by _keep_for_checking
        username, password = (part.decode("utf-8", "replace") for part in signed)
        self._answer_due = True
        try:
            return await self._check(username, password)
        except (DatabaseError, InterfaceError) as error:
            log.error("gateway_sign_in_impossible", client=self.client, error=str(error))
            return _refused("454 4.7.0 Sign-in is not possible right now; try again later.")
        finally:
            self._answer_due = False

    async def _check(self, username: str, password: str) -> AuthResult:
        try:
            credential = await self._gateway.in_database(lambda: authenticate(username, password, self.client))
        except CredentialRefused as refused:
            log.info("gateway_sign_in_refused", client=self.client, username=username, reason=str(refused))
            self._failed_sign_ins += 1
            return _refused(f"535 5.7.1 {refused}")
        if credential is None:
            failed = await self._gateway.in_database(lambda: count_failed_sign_in(username, self.client))
            log.info("gateway_sign_in_refused", client=self.client, username=failed.username)
            self._failed_sign_ins = MAX_PER_CONNECTION if failed.ends_connection else self._failed_sign_ins + 1
            return _refused(None)
        return AuthResult(success=True, auth_data=credential)

    # Records of a refused message.

    @property
    def _whose(self) -> dict[str, str]:
        credential = self.credential
        if credential is None:
            return {"client": self.client}
        place = {"app": credential.app.key, "stage": credential.stage.key}
        return {"client": self.client, "credential": credential.username, **place}

    @property
    def _recipient(self) -> str:
        return self.envelope.rcpt_tos[0] if self.envelope and self.envelope.rcpt_tos else ""

    async def _refuse(self, step: str, address: str, reply: str) -> None:
        shown = {"address": for_log(address, [address]), "reply": for_log(reply, [address])}
        log.info("email_refused", source=Source.GATEWAY.value, **self._whose, step=step, **shown)
        self._keep_trace(step, address, reply)
        await self.push(reply)

    def _keep_trace(self, step: str, address: str, reply: str) -> None:
        if (credential := self.credential) is not None:
            self._gateway.refusals.note(refusal(credential, Source.GATEWAY, step, address, reply))


class GatewayHandler:
    """The handler from which aiosmtpd takes some answers."""

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        offered = ["250-AUTH PLAIN LOGIN" if line.startswith("250-AUTH ") else line for line in responses[:-1]]
        ours = ["250-PIPELINING", "250-ENHANCEDSTATUSCODES", f"250-{EHLO_KEYWORD} {installation_id()}"]
        return [*offered, *ours, *responses[-1:]]

    async def handle_exception(self, error: Exception) -> str:
        if isinstance(error, TLSSetupException):  # the client's wrong protocol or certificate store, no bug in the gateway
            log.info("gateway_tls_failed", error=str(error.__cause__))
        else:
            log.exception("gateway_error", exc_info=error)
        return _TRY_AGAIN


def _keep_for_checking(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
    """Accept the sign-in for now, and let sign_in() decide.

    aiosmtpd calls this on the event loop, where the database can't be used.
    """
    return AuthResult(success=True, auth_data=data)


def _refused(reply: str | None) -> AuthResult:
    return AuthResult(success=False, handled=False, message=reply)


def _peer(transport: asyncio.BaseTransport) -> str:
    return plain_address(transport.get_extra_info("peername")[0])


def tls_context() -> ssl.SSLContext | None:
    """The TLS context of the gateway's certificate, or None without one.

    With a certificate, clients can sign in only after TLS has started.
    """
    if not settings.GATEWAY_TLS_CERT:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_into(context)
    return context


async def serve(host: str, port: int, stop: asyncio.Event, tls_port: int = 0) -> None:
    """Accept connections until `stop` is set, then stop gracefully.

    Raises OSError if a port isn't available.
    """
    loop = asyncio.get_running_loop()
    gateway = SmtpGateway()
    loop.set_exception_handler(OutOfFiles(loop))
    servers = [await loop.create_server(lambda: GatewayServer(gateway), host, port)]
    if tls_port:
        servers.append(await loop.create_server(lambda: GatewayServer(gateway, implicit_tls=True), host, tls_port))
    log.info("gateway_listening", host=host, port=port, tls_port=tls_port, starttls=gateway.tls_context is not None)
    heartbeat = Heartbeat(CertificateWatch(gateway.tls_context).check)
    heartbeat.start()
    await stop.wait()
    await asyncio.to_thread(heartbeat.stop)  # first of all, so that load balancers send no more clients here
    for server in servers:
        server.close()
    await gateway.stop()


class OutOfFiles:
    """Log once a minute that connections can't be accepted for lack of file handles.

    asyncio would log it a hundred times, each with a traceback, and try again a second later.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._log = SeldomLog(loop.time)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "socket.accept()" in context["message"]:
            self._log.warning("gateway_connections_limited", limit="file handles", error=str(context.get("exception")))
        else:
            loop.default_exception_handler(context)


def _fate(accepted: AcceptedMessage) -> str:
    """What an app's developer should know at once: that nobody gets the message, or not yet."""
    if accepted.is_captured:
        return " (captured)"
    return f" (held: {accepted.hold_reason.label})" if accepted.hold_reason else ""
