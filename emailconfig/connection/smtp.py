"""smtplib's client, which keeps what is said while a connection is opened, and limits what it listens to."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Protocol

REPLY_SECONDS = 30.0
# A reply has at most so many bytes, over all its lines: RFC 5321 section 4.5.3.1.5 asks for 512 a line.
REPLY_BYTES = 64 * 1024
_SHOWN_LINES = 20
HIDDEN = "••••"


class ReplyTooLong(smtplib.SMTPException):
    """The server goes on and on."""


class Smtp(smtplib.SMTP):
    """A client with no connection yet: `sock` is set by whoever opens it.

    `said` holds what was said, a line each, as long as `listening`; what stands in `secrets` is shown as dots in it, and
    in every reply.
    """

    def __init__(self, server: str, hello: str) -> None:
        super().__init__(local_hostname=hello, timeout=REPLY_SECONDS)
        # Certificates are checked against it when TLS starts. Only smtplib's own connect() sets it.
        self._host = server
        self.listening = True
        self.said: list[str] = []
        self.secrets: list[str] = []

    def putcmd(self, cmd: str, args: str = "") -> None:
        if self.listening:
            self.said.append("→ " + self._hidden(f"{cmd} {args}".strip()))
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            if self.sock is None:
                raise smtplib.SMTPServerDisconnected("The server closed the connection.")
            self.file = _Limited(self.sock.makefile("rb"))
        heard: _Limited = self.file
        heard.begin()
        try:
            code, _ = super().getreply()
        except smtplib.SMTPServerDisconnected:
            if heard.left < 0:  # smtplib takes it for a broken connection
                raise ReplyTooLong(f"A reply of more than {REPLY_BYTES:,} bytes.") from None
            raise
        lines = [_text(self._hidden(line.decode("utf-8", "replace"))) for line in heard.lines]
        if self.listening:
            self.said += [f"← {printable(f'{code} {line}' if code > 0 else line)}" for line in lines[:_SHOWN_LINES]]
        return code, "\n".join(lines).encode()

    def note(self, text: str) -> None:
        """Something to show beside what is said: an address, a certificate."""
        self.said.append(printable(text))

    def _hidden(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


class _Limited:
    """The server's side of the connection, as smtplib reads it: line by line, and not for ever."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.begin()

    def begin(self) -> None:
        """A reply, of which `lines` holds what was read and `left` says how many bytes more it may have."""
        self.lines: list[bytes] = []
        self.left = REPLY_BYTES

    def readline(self, size: int = -1) -> bytes:
        line = self.stream.readline(size)
        self.left -= len(line)
        if self.left < 0:
            raise ReplyTooLong
        self.lines.append(line)
        return line

    def close(self) -> None:
        self.stream.close()


class _HasSocket(Protocol):
    sock: socket.socket | None


@contextmanager
def cut_after(connection: _HasSocket, seconds: float) -> Iterator[threading.Event]:
    """Each answer has its time limit; this is the one for all of them, for a server that drips. Gives what is set when
    the time is over."""
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):  # again and again: there may be no socket to cut yet
            over.set()
            cut(connection)
            wait = 0.5

    threading.Thread(target=watch, name="connecting", daemon=True).start()
    try:
        yield over
    finally:
        done.set()


def cut(connection: _HasSocket) -> None:
    """End a connection from another thread: whoever waits on it sees it broken."""
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            # Not SSLSocket's own: it drops the encryption first, and a thread that still writes would write plain text.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _text(line: str) -> str:
    """A line of a reply without its code. smtplib cuts four characters off one that has none, too."""
    return (line[4:] if line[:3].isdigit() else line).strip()


def words(code: int, reply: bytes | str) -> str:
    """The server's reply as it is shown and stored: the code and its text, cleaned and at most 1,000 characters."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return f"{code} {printable(text)}"[:1000] if code > 0 else printable(text)


def printable(text: str) -> str:
    """One line of at most 1,000 characters, without what a terminal or a page would act on."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:1000]
