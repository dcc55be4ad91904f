"""smtplib's client, which keeps what is said while a connection is opened, and limits what it listens to."""

from __future__ import annotations

import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Protocol

from emailconfig.exceptions import ReplyTooLong

REPLY_SECONDS = 30.0
# Of a reply so many bytes are kept, over all its lines; RFC 5321 section 4.5.3.1.5 asks for 512 a line. The rest is read and
# dropped, so that the reply counts by its code; but not for ever.
REPLY_BYTES = 64 * 1024
LONGEST_REPLY_BYTES = 64 * 1024 * 1024
_READ_BYTES = 8 * 1024
_SHOWN_LINES = 20
HIDDEN = "••••"


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
            self.file = self.sock.makefile("rb")
        try:
            code, heard = _read_reply(self.file)
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            self.close()
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        lines = [_text(self._hidden(line.decode("utf-8", "replace"))) for line in heard]
        if self.listening:
            self.said += [f"← {printable(f'{code} {line}' if code > 0 else line)}" for line in lines[:_SHOWN_LINES]]
        return code, "\n".join(lines).encode()

    def unread(self) -> bytes:
        """What has arrived after the last reply."""
        if self.file is None or self.sock is None:
            return b""
        seconds = self.sock.gettimeout()
        self.sock.setblocking(False)  # nothing to read is the rule
        try:
            stream: BufferedReader = self.file
            return stream.peek()
        finally:
            self.sock.settimeout(seconds)

    def note(self, text: str) -> None:
        """Something to show beside what is said: an address, a certificate."""
        self.said.append(printable(text))

    def _hidden(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _read_reply(stream: BufferedReader) -> tuple[int, list[bytes]]:
    """The code of a reply, -1 where it has none, and its lines as far as they are kept."""
    code, lines, kept, total = -1, list[bytes](), 0, 0
    more = True
    while more:
        line = stream.readline(_READ_BYTES)
        if not line:
            raise smtplib.SMTPServerDisconnected("the server closed it")
        code, more = int(line[:3]) if line[:3].isdigit() else -1, line[3:4] == b"-"
        if code == -1:
            more = False
        if kept < REPLY_BYTES:
            lines.append(line)
            kept += len(line)
        total += len(line) + _rest_of_line(line, stream)
        if total > LONGEST_REPLY_BYTES:
            raise ReplyTooLong(f"A reply of more than {LONGEST_REPLY_BYTES:,} bytes.")
    return code, lines


def _rest_of_line(line: bytes, stream: BufferedReader) -> int:
    """Drop what is left of a line that was read in part. Returns its length."""
    dropped = 0
    while line and not line.endswith(b"\n") and dropped <= LONGEST_REPLY_BYTES:
        line = stream.readline(_READ_BYTES)
        dropped += len(line)
    return dropped


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
