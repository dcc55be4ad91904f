"""A real SMTP server over TCP for tests. It records what arrives, and answers as the test tells it."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message as ParsedMail

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


def free_port() -> int:
    """A free port, for machines on which no other tests run: another program may take it before the caller listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that the kernel gives to no other program meanwhile, not even as the local port of a connection.

    Connections to it are refused until a program that is told it listens there; SO_REUSEADDR, which servers set too, lets it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def listening(port: int) -> bool:
    """Return whether a server accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Arrived:
    """One message as the server got it."""

    sender: str
    recipients: list[str]
    content: bytes
    tls: bool
    login: str

    @property
    def mail(self) -> ParsedMail:
        return message_from_bytes(self.content)


@dataclass
class SmtpServer:
    """Accepts everything unless told otherwise.

    `mail`, `rcpt` and `data` answer the commands: a reply, or None for 250; `data` may block. `options` hears those of MAIL.
    With `long_lines` it accepts lines of any length. With `users` sign-in is required, and `refusal` is what a wrong one is
    told; with `tls` STARTTLS is offered (or, with `implicit_tls`, spoken from the start). With `bearer`, such as XOAUTH2,
    sign-in is by OAuth 2.0: `token` answers mailbox and token, with a reply or None for 235, and `challenge` gives the reason
    for a refusal.
    """

    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    users: dict[str, str] = field(default_factory=dict)
    mail: Callable[[str], str | None] = lambda sender: None
    rcpt: Callable[[str], str | None] = lambda address: None
    data: Callable[[Arrived], str | None] = lambda arrived: None
    refusal: Callable[[str, str], str] = lambda login, password: "535 5.7.8 Authentication credentials invalid"
    bearer: Sequence[str] = ()
    token: Callable[[str, str], str | None] = lambda mailbox, token: None
    challenge: Callable[[str], str] = lambda token: '{"status":"401","schemes":"bearer","scope":"mail.send"}'
    options: Callable[[str, Sequence[str]], None] = lambda address, options: None
    smtputf8: bool = True
    long_lines: bool = False
    pipelining: bool = False
    port: int = 0  # while it runs
    arrived: list[Arrived] = field(default_factory=list)
    connections: int = 0
    hellos: int = 0
    names: set[str] = field(default_factory=set)  # said in EHLO
    logins: list[tuple[str, str]] = field(default_factory=list)

    @property
    def recipients(self) -> set[str]:
        """All recipients who got a message."""
        return {address for arrival in self.arrived for address in arrival.recipients}

    def __enter__(self) -> SmtpServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._taken: list[socket.socket] = []
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections. No client may wait for the answers of a stopped server."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with contextlib.closing(self._loop) as loop, self._listener:
            loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        accepting = self._loop.create_task(self._accept())
        await self._stop.wait()
        accepting.cancel()
        for sock in self._taken:
            with contextlib.suppress(OSError):  # left already
                sock.shutdown(socket.SHUT_RDWR)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others)

    async def _accept(self) -> None:
        """Accept connections without asyncio's server, which doesn't list the connections that it has accepted."""
        async with asyncio.TaskGroup() as conversations:
            while True:
                sock, _ = await self._loop.sock_accept(self._listener)
                self._taken.append(sock)
                conversations.create_task(self._talk(sock))

    async def _talk(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # TLS that fails is the client's to tell
            await self._loop.connect_accepted_socket(self._session, sock, ssl=self.tls if self.implicit_tls else None)

    def _session(self) -> SMTP:
        self.connections += 1
        without = {"XOAUTH2", "OAUTHBEARER"} - {*self.bearer} | ({"PLAIN", "LOGIN"} if self.bearer and not self.users else set())
        return (_LongLines if self.bearer or self.long_lines else SMTP)(
            _Handler(self),
            hostname="smtp.test",
            enable_SMTPUTF8=self.smtputf8,
            data_size_limit=None,
            tls_context=None if self.implicit_tls else self.tls,
            auth_required=bool(self.users or self.bearer),
            auth_require_tls=False,
            auth_exclude_mechanism=without,
            authenticator=self._authenticate,
            loop=self._loop,
        )

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        login, password = data.login.decode(), data.password.decode()
        self.logins.append((login, password))
        right = self.users.get(login) == password
        return AuthResult(success=right, auth_data=data, handled=False, message=None if right else self.refusal(login, password))


class _LongLines(SMTP):
    """Tokens are longer than other commands (RFC 4954 section 4), and so are some emails' lines."""

    line_length_limit = 1024 * 1024
    command_size_limit = 12 * 1024
    command_size_limits = collections.defaultdict(lambda: 12 * 1024)


class _Handler:
    def __init__(self, server: SmtpServer) -> None:
        self.server = server

    async def auth_XOAUTH2(self, server: SMTP, arguments: list[str]) -> AuthResult:
        return await self._signed_in(server, arguments, r"user=(.+)\x01auth=Bearer (.+)\x01\x01", b"")

    async def auth_OAUTHBEARER(self, server: SMTP, arguments: list[str]) -> AuthResult:
        return await self._signed_in(server, arguments, r"n,a=(.+),\x01auth=Bearer (.+)\x01\x01", b"\x01")

    async def _signed_in(self, server: SMTP, arguments: list[str], form: str, farewell: bytes) -> AuthResult:
        match = re.fullmatch(form, base64.b64decode(arguments[1], validate=True).decode())
        if match is None:
            return AuthResult(success=False, handled=False, message="501 5.5.2 Malformed")
        mailbox, token = match[1].replace("=2C", ",").replace("=3D", "="), match[2]
        self.server.logins.append((mailbox, token))
        refusal = self.server.token(mailbox, token)
        if refusal and await server.challenge_auth(self.server.challenge(token)) != farewell:
            refusal = "501 5.5.2 An empty answer was expected"
        return AuthResult(
            success=not refusal, handled=False, message=refusal, auth_data=LoginPassword(mailbox.encode(), token.encode())
        )

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.server.hellos += 1
        self.server.names.add(hostname)
        offered = ["250-PIPELINING"] if self.server.pipelining else []
        return [*responses[:-1], *offered, *responses[-1:]]

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Sequence[str]) -> str:
        if reply := self.server.mail(address):
            return reply
        self.server.options(address, options)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 Ok"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Sequence[str]) -> str:
        if reply := self.server.rcpt(address):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        login = session.auth_data.login.decode() if session.auth_data else ""
        arrived = Arrived(
            "" if envelope.mail_from == "<>" else envelope.mail_from or "",
            list(envelope.rcpt_tos),
            bytes(envelope.original_content or b""),
            session.ssl is not None or self.server.implicit_tls,
            login,
        )
        return await asyncio.get_running_loop().run_in_executor(None, self._keep, arrived)

    def _keep(self, arrived: Arrived) -> str:
        """Keep the message on a thread. A client that leaves meanwhile cancels aiosmtpd's coroutine, but not the thread."""
        reply = self.server.data(arrived)
        if reply is None or reply.startswith("2"):
            self.server.arrived.append(arrived)
        return reply or "250 Ok: kept"
