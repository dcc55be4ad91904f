"""Add to aiosmtpd's server what the gateway needs of an SMTP connection.

All private names of aiosmtpd that the portal uses are in this file, so that one test can check whether a new version still has
them.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from collections import defaultdict
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, TLSSetupException

# RFC 5321 requires 512 octets. RFC 3461 and 4954 require about 500 more for each parameter that they add.
_COMMAND_MAX_BYTES = 2048
# How long a client that doesn't read may keep its connection after the last reply.
_FAREWELL_SECONDS = 5.0
# Non-ASCII characters in our replies (RFC 6531 section 3.7.4.2 allows them only to clients that ask for SMTPUTF8).
_ASCII = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "…": "..."})
_UNPRINTABLE = dict.fromkeys([*range(0x20), 0x7F], "?")


class SmtpConnection(SMTP):
    """A client's connection.

    With `implicit_tls`, TLS begins with the connection and not with STARTTLS.
    """

    line_length_limit = command_size_limit = _COMMAND_MAX_BYTES
    # Some clients, such as Go's, know only these.
    AuthLoginUsernameChallenge, AuthLoginPasswordChallenge = "Username:", "Password:"

    def __init__(self, handler: Any, *, silence_seconds: float, implicit_tls: bool, **options: Any) -> None:
        super().__init__(handler, timeout=silence_seconds, **options)
        # aiosmtpd's own dictionary is shared by all connections and grows with each EHLO.
        self.command_size_limits = defaultdict(lambda: _COMMAND_MAX_BYTES)
        self._implicit_tls = implicit_tls
        self._heard = self.loop.time()

    @property
    def client(self) -> str:
        """The address that the client connects from. Empty before there is a session: aiosmtpd reads every property early."""
        return str(self.session.peer[0]) if self.session and self.session.peer else ""

    @property
    def silent_since(self) -> float:
        """The time of the client's last bytes, by the event loop's clock."""
        return self._heard

    @property
    def is_waited_for(self) -> bool:
        """Whether it is the client's turn to say something. A subclass knows when it isn't."""
        return True

    def client_is_silent(self) -> None:
        """Handle a client that has sent nothing for too long; subclasses implement it."""
        raise NotImplementedError

    def hang_up(self, reply: str) -> None:
        """Send `reply` and close."""
        if isinstance(self.transport, asyncio.Transport):
            hang_up(self.transport, reply if self._can_read() else "")

    def _can_read(self) -> bool:
        """Whether the client can read a reply now.

        It can't during the TLS handshake.
        """
        assert self.session is not None
        return not (self._implicit_tls or self._tls_protocol) or self.session.ssl is not None

    # The time limit is on silence. A client that keeps sending is never cut off.

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        super().data_received(data)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Restart the time limit.

        aiosmtpd makes a timer for each command. This one timer continues, and checks when the client last sent something.
        """
        self._heard = self.loop.time()
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_later(self._timeout_duration, self._timeout_cb)

    def _timeout_cb(self) -> None:
        if not self.is_waited_for:
            self._heard = self.loop.time()
        left = self._heard + self._timeout_duration - self.loop.time()
        if left > 0:
            self._timeout_handle = self.loop.call_later(left, self._timeout_cb)
        else:
            self.client_is_silent()

    # Replies to the client.

    async def push(self, status: str | bytes) -> None:
        await super().push(self._encoded(status) if isinstance(status, str) else status)

    def _encoded(self, reply: str) -> bytes:
        """One line, in ASCII unless the client asked for SMTPUTF8 with its MAIL."""
        if reply.isascii() and reply.isprintable():
            return reply.encode()
        reply = reply.translate(_UNPRINTABLE)
        if self.envelope is not None and self.envelope.smtp_utf8:
            return reply.encode("utf-8", "replace")
        return reply.translate(_ASCII).encode("ascii", "replace")

    async def read_content(self, read: Any) -> bytes:
        """The content that `read` reads from the connection's stream."""
        try:
            content: bytes = await read(self._reader)
        except asyncio.CancelledError:  # the client is gone
            self._writer.close()
            raise
        return content

    def forget_envelope(self) -> None:
        """End the mail transaction (RFC 5321 section 4.1.1.4)."""
        self._set_post_data_state()  # type: ignore[no-untyped-call]

    # Signing in, and TLS.

    async def smtp_AUTH(self, arg: str) -> None:
        """Turn the mechanism's name to upper case, the only form that aiosmtpd knows."""
        mechanism, space, initial_response = (arg or "").partition(" ")
        await super().smtp_AUTH(mechanism.upper() + space + initial_response)

    async def auth_PLAIN(self, _: Any, args: list[str]) -> AuthResult:
        return await self.sign_in(await super().auth_PLAIN(_, args))

    async def auth_LOGIN(self, _: Any, args: list[str]) -> AuthResult:
        return await self.sign_in(await super().auth_LOGIN(_, args))

    async def sign_in(self, parsed: AuthResult) -> AuthResult:
        """Check username and password after they are read; subclasses implement it."""
        raise NotImplementedError

    async def smtp_STARTTLS(self, arg: str) -> None:
        """As aiosmtpd's own, but refused within TLS."""
        if self._tls_protocol is not None:
            await self.push("503 5.5.1 The connection is encrypted already")
        elif arg:
            await self.push("501 5.5.4 Syntax: STARTTLS")
        elif self.tls_context is None:
            await self.push("502 5.5.1 STARTTLS is not offered")
        else:
            await self.push("220 2.0.0 Ready to start TLS")
            await self._start_tls()

    async def _handle_client(self) -> None:
        if self._implicit_tls:
            try:
                await self._start_tls()
            except TLSSetupException as error:
                await self.handle_exception(error)
                if isinstance(self.transport, asyncio.Transport):
                    self.transport.abort()
                    self.connection_lost(error)  # asyncio doesn't report a connection that ends during the TLS handshake
                return
        await super()._handle_client()

    async def _start_tls(self) -> None:
        """Start TLS; `connection_made` is called again after the handshake.

        Nothing is awaited before the connection's bytes go to TLS, so that none of them can be taken for a command.
        """
        assert self.tls_context is not None
        assert isinstance(self.transport, asyncio.Transport)
        agreed: asyncio.Future[None] = self.loop.create_future()
        self._tls_protocol = sslproto.SSLProtocol(self.loop, self, self.tls_context, agreed, server_side=True)
        self._original_transport = self.transport
        self.transport.set_protocol(self._tls_protocol)
        self.transport = self._tls_protocol._app_transport
        self._tls_protocol.connection_made(self._original_transport)
        try:
            await agreed
        except (ssl.SSLError, OSError) as error:
            raise TLSSetupException from error
        assert self.session is not None
        if self.session.ssl is None:
            raise TLSSetupException from ConnectionAbortedError("The connection was closed.")


def hang_up(transport: asyncio.Transport, reply: str) -> None:
    """Send `reply`, if there is one, and close.

    A client that doesn't read it is cut off a little later.
    """
    if transport.is_closing():
        return
    if reply:
        transport.write(reply.encode("ascii", "replace") + b"\r\n")
    transport.close()
    asyncio.get_running_loop().call_later(_FAREWELL_SECONDS, transport.abort)
