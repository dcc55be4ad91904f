"""SMTP servers over TCP, each with one fault, and what the connection doctor must say about it."""

from __future__ import annotations

import base64
import datetime
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from tests.support.certificates import Authority

# No conversation lasts longer, whatever becomes of the test.
_LONGEST_SECONDS = 60.0
_DAY = datetime.timedelta(days=1)


class Conversation:
    """The server's side of one connection."""

    def __init__(self, server: FaultyServer, sock: socket.socket) -> None:
        self.server, self.sock, self.encrypted = server, sock, False
        self.stream = sock.makefile("rb")

    def say(self, reply: str | bytes) -> None:
        self.sock.sendall(reply if isinstance(reply, bytes) else reply.replace("\n", "\r\n").encode() + b"\r\n")

    def hear(self) -> str:
        """Return the next line that isn't blank. The random bytes of a TLS handshake may have blank ones."""
        line = ""
        while not line:
            read = self.stream.readline()
            if not read:
                raise ConnectionError("the client has left")
            line = read.decode("utf-8", "replace").strip()
        self.server.heard.append(line)
        return line

    def encrypt(self) -> None:
        assert self.server.tls is not None
        self.sock = self.server.tls.wrap_socket(self.sock, server_side=True)
        self.stream, self.encrypted = self.sock.makefile("rb"), True

    def shut(self) -> None:
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self.shut()
        self.stream.close()
        self.sock.close()


Act = Callable[[Conversation], None]
Answer = str | bytes | Act


@dataclass
class FaultyServer:
    """A server that accepts every command but no message.

    `answers` replaces its answer to a command, to the connection ("greeting") or to the EHLO after STARTTLS ("EHLO over TLS").
    `heard` has every line that came in.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    tls_from_the_start: bool = False
    offers: tuple[str, ...] = ("8BITMIME", "AUTH PLAIN LOGIN")
    heard: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def commands(self) -> list[str]:
        return [line.split(maxsplit=1)[0].upper() for line in self.heard]

    def __enter__(self) -> FaultyServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._conversations: list[Conversation] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(_LONGEST_SECONDS)  # from here on nobody joins in
        self._listener.close()
        for conversation in self._conversations:
            conversation.shut()
        for thread in self._threads:
            thread.join(_LONGEST_SECONDS)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                sock.settimeout(_LONGEST_SECONDS)
                self._conversations.append(Conversation(self, sock))
                self._threads.append(threading.Thread(target=self._serve, args=(self._conversations[-1],), daemon=True))
                self._threads[-1].start()

    def _serve(self, conversation: Conversation) -> None:
        with suppress(OSError):
            if self.tls_from_the_start:
                conversation.encrypt()
            self._answer(conversation, "greeting", "220 smtp.test ready")
            while True:
                command = conversation.hear().split()[0].upper()
                if command == "EHLO":
                    started = conversation.encrypted and not self.tls_from_the_start
                    self._answer(conversation, "EHLO over TLS" if started else command, self._hello(conversation))
                else:
                    self._answer(conversation, command, {"STARTTLS": start_tls, "AUTH": sign_in}.get(command, "250 ok"))
        conversation.close()

    def _hello(self, conversation: Conversation) -> str:
        starttls = ["STARTTLS"] if self.tls is not None and not conversation.encrypted else []
        return "\n".join(["250-smtp.test", *(f"250-{keyword}" for keyword in (*self.offers, *starttls)), "250 HELP"])

    def _answer(self, conversation: Conversation, command: str, usual: Answer) -> None:
        answer = self.answers.get(command, usual)
        if callable(answer):
            answer(conversation)
        else:
            conversation.say(answer)


def start_tls(conversation: Conversation) -> None:
    conversation.say("220 go ahead")
    conversation.encrypt()


def sign_in(conversation: Conversation) -> None:
    if conversation.server.heard[-1].startswith("AUTH LOGIN"):
        conversation.say("334 UGFzc3dvcmQ6")
        conversation.hear()
    conversation.say("235 welcome")


def hang(conversation: Conversation) -> None:
    while True:
        conversation.hear()


def drop(conversation: Conversation) -> None:
    raise ConnectionError("dropped")


def reset(conversation: Conversation) -> None:
    """Close the connection with an RST instead of a FIN, so that the client's next step fails."""
    conversation.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conversation.stream.close()
    conversation.sock.close()
    raise ConnectionError("reset")


def drip(conversation: Conversation) -> None:
    """Send a reply that never ends, with only short pauses."""
    for _ in range(100):
        conversation.say("250-and")
        time.sleep(0.05)
    raise ConnectionError("nobody has cut it")


def say_and(reply: str | bytes, then: Act) -> Act:
    def act(conversation: Conversation) -> None:
        conversation.say(reply)
        then(conversation)

    return act


def repeat_the_secret(conversation: Conversation) -> None:
    """Repeat the secret as it came, and decoded."""
    secret = conversation.server.heard[-1].split()[-1]
    clear = base64.b64decode(secret).decode().replace("\0", " ")
    conversation.say(f"535-5.7.8 You said {secret}\n535-5.7.8 {clear}\n535 5.7.8 That is wrong")


def echo_the_password(conversation: Conversation) -> None:
    """Repeat exactly the text that was sent after the username, as a server that echoes does."""
    conversation.say("334 UGFzc3dvcmQ6")
    conversation.say(conversation.hear())


def go_on_in_clear(conversation: Conversation) -> None:
    """Answer without TLS although the client has begun TLS."""
    conversation.sock.recv(1, socket.MSG_PEEK)
    conversation.say("250 in clear")
    hang(conversation)


def inject_into_starttls(conversation: Conversation) -> None:
    """Add text to the last packet before TLS, as an attacker would. The client might take it for an answer over TLS."""
    conversation.say(b"220 go ahead\r\n250-smtp.test\r\n250 AUTH PLAIN LOGIN\r\n")
    conversation.encrypt()


# A megabyte, as one line and as many.
ONE_LONG_LINE = b"250 " + b"x" * 1_000_000 + b"\r\n"
MANY_LINES = b"250-and so on and so on and so on\r\n" * 30_000 + b"250 ok\r\n"
HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html><body>Bad Request</body></html>\r\n"


class Fault(NamedTuple):
    """A server's fault, the step that finds it, and the explanation.

    `tls` is a kind of Forger.context. `values` are settings other than a password without encryption.
    """

    step: str
    code: str
    answers: dict[str, Answer] = {}
    tls: str = ""
    from_the_start: bool = False
    offers: tuple[str, ...] = ("8BITMIME", "AUTH PLAIN LOGIN")
    values: dict[str, Any] = {}


def _answers(step: str, code: str, answer: Answer) -> Fault:
    """A fault that is the answer to one command."""
    return Fault(step, code, {step.split(maxsplit=1)[0]: answer})


_STARTTLS = {"security": "starttls", "server": "localhost"}
_TLS = {"security": "tls", "server": "localhost"}
_OAUTH2 = {"authentication": "oauth2"}
_FROM_MICROSOFT = "535 5.7.139 Authentication unsuccessful, "
_SEE = " Visit https://aka.ms/smtp_auth_disabled for more information. [FR3P281CA0001.DEUP281.PROD.OUTLOOK.COM]"

FAULTS: dict[str, Fault] = {
    # Greeting
    "hangs before it greets": _answers("greeting", "silent", hang),
    "hangs before it greets, on port 465": Fault("greeting", "tls_expected", {"greeting": hang}, values={"port": 465}),
    "drips its greeting": _answers("greeting", "too_slow", drip),
    "drops before it greets": _answers("greeting", "dropped", drop),
    "is busy": _answers("greeting", "busy", "421 4.3.0 Service not available, try later"),
    "has too many connections": _answers("greeting", "too_many_connections", "421 4.7.0 Error: too many connections from you"),
    "turns us away": _answers("greeting", "turned_away", "554 5.7.1 Your address is on a block list"),
    "speaks HTTP": _answers("greeting", "not_smtp", HTTP),
    "speaks SSH": _answers("greeting", "not_smtp", "SSH-2.0-OpenSSH_9.6"),
    "speaks POP3": _answers("greeting", "not_smtp", "+OK POP3 ready"),
    "sends noise": _answers("greeting", "not_smtp", bytes(range(256)) + b"\n"),
    # EHLO
    "drops at EHLO": _answers("EHLO", "dropped", drop),
    "resets at EHLO": _answers("EHLO", "dropped", reset),
    "hangs at EHLO": _answers("EHLO", "no_answer", hang),
    "drips at EHLO": _answers("EHLO", "too_slow", drip),
    "knows neither EHLO nor HELO": Fault("EHLO", "hello_refused", {"EHLO": "502 5.5.1 What?", "HELO": "502 5.5.1 What now?"}),
    "refuses our name": _answers("EHLO", "hello_refused", "550 5.7.1 Helo command rejected: Host not found"),
    "refuses our name and hangs up": _answers("EHLO", "hello_refused", say_and("550 5.7.1 Host not found", drop)),
    "hangs up politely at EHLO": _answers("EHLO", "session_closed", say_and("421 4.3.0 Shutting down", drop)),
    "refuses EHLO for now": _answers("EHLO", "refused_for_now", "451 4.3.0 Not now"),
    "answers noise to EHLO": _answers("EHLO", "unintelligible", "good morning"),
    # STARTTLS
    "offers no STARTTLS": Fault("STARTTLS", "starttls_not_offered", values=_STARTTLS),
    "refuses STARTTLS": Fault(
        "STARTTLS", "starttls_refused", {"STARTTLS": "454 4.7.0 TLS not available"}, "good", values=_STARTTLS
    ),
    "drops at STARTTLS": Fault("STARTTLS", "dropped", {"STARTTLS": drop}, "good", values=_STARTTLS),
    "drops after STARTTLS": Fault("STARTTLS", "dropped", {"STARTTLS": say_and("220 go", drop)}, "good", values=_STARTTLS),
    "resets after STARTTLS": Fault("STARTTLS", "dropped", {"STARTTLS": say_and("220 go", reset)}, "good", values=_STARTTLS),
    "hangs after STARTTLS": Fault("STARTTLS", "no_answer", {"STARTTLS": say_and("220 go", hang)}, "good", values=_STARTTLS),
    "goes on in clear after STARTTLS": Fault(
        "STARTTLS", "tls_failed", {"STARTTLS": say_and("220 go", go_on_in_clear)}, "good", values=_STARTTLS
    ),
    "drops at EHLO over TLS": Fault("STARTTLS", "dropped", {"EHLO over TLS": drop}, "good", values=_STARTTLS),
    "is injected into at STARTTLS": Fault(
        "STARTTLS", "starttls_injection", {"STARTTLS": inject_into_starttls}, "good", values=_STARTTLS
    ),
    "offers a sign-in only until TLS starts": Fault(
        "AUTH", "auth_not_offered", {"EHLO over TLS": "250 smtp.test"}, "good", values=_STARTTLS
    ),
    "expects TLS from the start": Fault("greeting", "silent", tls="good", from_the_start=True, values=_STARTTLS),
    "expects TLS from the start, on port 465": Fault(
        "greeting", "tls_expected", tls="good", from_the_start=True, values={**_STARTTLS, "port": 465}
    ),
    # TLS from the start
    "has no TLS from the start": Fault("TLS", "no_tls_from_the_start", tls="good", values=_TLS),
    "speaks HTTP where TLS is expected": Fault("TLS", "no_tls_from_the_start", {"greeting": HTTP}, values=_TLS),
    "drops at TLS": Fault("TLS", "dropped", {"greeting": drop}, values=_TLS),
    "hangs at TLS": Fault("TLS", "no_answer", {"greeting": hang}, values=_TLS),
    # Sign-in
    "offers no sign-in": Fault("AUTH", "auth_not_offered", offers=()),
    "offers no sign-in by password": Fault("AUTH", "password_not_offered", offers=("AUTH XOAUTH2",)),
    "takes passwords by CRAM-MD5 only": Fault("AUTH", "cram_md5_only", offers=("AUTH CRAM-MD5 DIGEST-MD5",)),
    "takes tokens and CRAM-MD5": Fault("AUTH", "password_not_offered", offers=("AUTH CRAM-MD5 XOAUTH2",)),
    "offers no sign-in by OAuth 2.0": Fault("AUTH", "oauth_not_offered", values=_OAUTH2),
    "drops at AUTH": _answers("AUTH", "dropped", drop),
    "hangs at AUTH": _answers("AUTH", "no_answer", hang),
    "refuses the password": _answers("AUTH", "auth_refused", "535 5.7.8 Error: authentication failed"),
    "refuses the password in the words of RFC 4954": _answers(
        "AUTH", "auth_refused", "535 5.7.8 Authentication credentials invalid"
    ),
    "knows no AUTH after all": _answers("AUTH", "auth_refused", "502 5.5.1 Command not implemented"),
    "can't check the password": _answers("AUTH", "auth_later", "454 4.7.0 Temporary authentication failure"),
    "repeats the secret": _answers("AUTH", "auth_refused", repeat_the_secret),
    "echoes the password": Fault("AUTH", "unintelligible", {"AUTH": echo_the_password}, offers=("AUTH LOGIN",)),
    "wants encryption before AUTH": _answers(
        "AUTH", "encryption_required", "538 5.7.11 Encryption required for requested authentication mechanism"
    ),
    "refuses the token": Fault(
        "AUTH",
        "token_not_accepted",
        {"AUTH": "535 5.7.3 Authentication unsuccessful [BN6PR11CA0001.namprd11.prod.outlook.com]"},
        offers=("AUTH LOGIN XOAUTH2",),
        values=_OAUTH2,
    ),
    # Sign-in at Microsoft 365, Google, Amazon SES
    "is off for the tenant": _answers(
        "AUTH", "microsoft_tenant_off", f"{_FROM_MICROSOFT}SmtpClientAuthentication is disabled for the Tenant.{_SEE}"
    ),
    "is off for the mailbox": _answers(
        "AUTH", "microsoft_mailbox_off", f"{_FROM_MICROSOFT}SmtpClientAuthentication is disabled for the Mailbox.{_SEE}"
    ),
    "takes no passwords any more": _answers(
        "AUTH", "microsoft_password_off", f"{_FROM_MICROSOFT}basic authentication is disabled. [FR3P281CA0001]"
    ),
    "has basic authentication retired": _answers(
        "AUTH", "microsoft_password_off", "550 5.7.30 Basic authentication is not supported for Client Submission."
    ),
    "blocks the sign-in": _answers(
        "AUTH",
        "microsoft_sign_in_blocked",
        f"{_FROM_MICROSOFT}user is locked by your organization's security defaults policy. Contact your administrator.",
    ),
    "blocks the sign-in by a rule": _answers(
        "AUTH",
        "microsoft_sign_in_blocked",
        f"{_FROM_MICROSOFT}the request did not meet the criteria to be authenticated successfully. Contact your administrator.",
    ),
    "is Microsoft's and refuses the password": _answers(
        "AUTH", "microsoft_auth_refused", f"{_FROM_MICROSOFT}the user credentials were incorrect. [FR3P281CA0001]"
    ),
    "is Microsoft's and refuses the password tersely": _answers(
        "AUTH", "microsoft_auth_refused", "535 5.7.3 Authentication unsuccessful [FR3P281CA0001.DEUP281.PROD.OUTLOOK.COM]"
    ),
    "wants an app password": _answers(
        "AUTH",
        "google_app_password",
        "534-5.7.9 Application-specific password required. For more information, go to\n"
        "534 5.7.9  https://support.google.com/mail/?p=InvalidSecondFactor a640c23a62f3a-abc - gsmtp",
    ),
    "is Google's and refuses the password": _answers(
        "AUTH",
        "google_auth_refused",
        "535-5.7.8 Username and Password not accepted. For more information, go to\n"
        "535 5.7.8  https://support.google.com/mail/?p=BadCredentials a640c23a62f3a-abc - gsmtp",
    ),
    "is Amazon's and refuses the password": _answers("AUTH", "ses_auth_refused", "535 Authentication Credentials Invalid"),
    "limits connections": _answers(
        "AUTH",
        "too_many_connections",
        "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.",
    ),
    "throttles": _answers("AUTH", "throttled", "421 4.3.2 STOREDRV.ClientSubmit; submission is being throttled"),
    # Sender
    "drops at MAIL": _answers("MAIL FROM", "dropped", drop),
    "hangs at MAIL": _answers("MAIL FROM", "no_answer", hang),
    "answers noise to MAIL": _answers("MAIL FROM", "unintelligible", "and a good day to you"),
    "refuses the sender": _answers("MAIL FROM", "sender_refused", "550 5.1.8 Sender address rejected: Domain not found"),
    "refuses the address of another sender": _answers(
        "MAIL FROM", "sender_not_owned", "553 5.7.1 <no-reply@acme.example>: Sender address rejected: not owned by user portal"
    ),
    "lets nobody send as this sender": _answers(
        "MAIL FROM", "sender_not_owned", "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
    ),
    "is Amazon's sandbox": _answers("MAIL FROM", "ses_sandbox", "554 Message rejected: Email address is not verified."),
    "wants a sign-in": _answers("MAIL FROM", "sign_in_required", "530 5.7.57 Client not authenticated to send mail."),
    "wants encryption": _answers("MAIL FROM", "encryption_required", "530 5.7.0 Must issue a STARTTLS command first"),
    "closes the session": _answers("MAIL FROM", "session_closed", say_and("421 4.4.2 Closing", drop)),
    "can't carry the sender": Fault("MAIL FROM", "smtputf8_missing", values={"sender_address": "grüße@acme.example"}),
    # Recipient, and the end
    "drops at RCPT": _answers("RCPT TO", "dropped", drop),
    "relays for nobody": _answers("RCPT TO", "relay_denied", "554 5.7.1 <customer@example.com>: Relay access denied"),
    "greylists": _answers("RCPT TO", "greylisted", "450 4.7.1 <customer@example.com>: Recipient address rejected: Greylisted"),
    "knows no such mailbox": _answers("RCPT TO", "recipient_unknown", "550 5.1.1 <customer@example.com>: User unknown"),
    "refuses the recipient": _answers("RCPT TO", "recipient_refused", "550 5.7.1 Not for you"),
    "has a full mailbox": _answers("RCPT TO", "mailbox_full", "452 4.2.2 The mailbox is over quota"),
    "refuses the recipient for now": _answers("RCPT TO", "refused_for_now", "451 4.3.0 Lookup failure"),
    "drops at RSET": _answers("RSET", "dropped", drop),
    "refuses RSET": _answers("RSET", "refused", "502 5.5.1 No"),
}

for _kind, _code in {
    "expired": "certificate_expired",
    "not yet valid": "certificate_not_yet_valid",
    "wrong host": "certificate_wrong_name",
    "self-signed": "certificate_self_signed",
    "unknown authority": "certificate_unknown_authority",
    "TLS 1.1": "tls_too_old",
}.items():
    FAULTS[f"{_kind}, with STARTTLS"] = Fault("STARTTLS", _code, tls=_kind, values=_STARTTLS)
    FAULTS[f"{_kind}, from the start"] = Fault("TLS", _code, tls=_kind, from_the_start=True, values=_TLS)


_LOCALHOST = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])


class Forger(Authority):
    """An authority that also issues invalid certificates."""

    def context(self, kind: str) -> ssl.SSLContext:
        """The TLS context of a server at localhost: "good", or faulty as `kind` says."""
        if kind == "not yet valid":
            return self.forged(starts_in=_DAY)
        if kind == "self-signed":
            return SelfSigned(self.folder).forged()
        if kind == "unknown authority":
            return Forger(self.folder).context("good")
        context = self.server_context("other.test" if kind == "wrong host" else "localhost", expired=kind == "expired")
        if kind == "TLS 1.1":
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        return context

    def forged(self, starts_in: datetime.timedelta = -_DAY) -> ssl.SSLContext:
        """A certificate that uses the authority's own key. Any key would do."""
        start = datetime.datetime.now(datetime.UTC) + starts_in
        certificate = (
            self._builder(_LOCALHOST, self._key.public_key(), start, start + 10 * _DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        key = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file = self.folder / "forged.pem"
        file.write_text(pem + key.decode())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


class SelfSigned(Forger):
    """A self-signed certificate for localhost."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._name = _LOCALHOST


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that never answers, on every IPv4 loopback address, as behind a firewall that drops packets: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for client in waiting:
                client.close()


@contextmanager
def token_server(token: str) -> Iterator[str]:
    """The URL of a server that gives every client this token."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join(_LONGEST_SECONDS)
