"""An SMTP client on top of smtplib.

It records the conversation while a connection is opened, and limits the size of replies.
"""

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
# This many bytes of a reply are kept, over all its lines; RFC 5321 section 4.5.3.1.5 requires 512 per line. The rest is read and
# dropped, up to a limit, so that a long reply still counts by its code.
REPLY_BYTES = 64 * 1024
LONGEST_REPLY_BYTES = 64 * 1024 * 1024
_READ_BYTES = 8 * 1024
_SHOWN_LINES = 20
HIDDEN = "••••"


class Smtp(smtplib.SMTP):
    """A client without a connection: the caller opens one and sets `sock`.

    While `listening`, `said` records the conversation line by line. In it, and in every reply, the texts in `secrets` are shown
    as dots.
    """

    def __init__(self, server: str, hello: str) -> None:
        super().__init__(local_hostname=hello, timeout=REPLY_SECONDS)
        # Certificates are checked against this name when TLS starts. Otherwise only smtplib's connect() sets it.
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
        """The bytes that have arrived after the last reply."""
        if self.file is None or self.sock is None:
            return b""
        seconds = self.sock.gettimeout()
        self.sock.setblocking(False)  # usually there is nothing to read
        try:
            stream: BufferedReader = self.file
            return stream.peek()
        finally:
            self.sock.settimeout(seconds)

    def note(self, text: str) -> None:
        """Record a fact beside the conversation, such as an address or a certificate."""
        self.said.append(printable(text))

    def _hidden(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _read_reply(stream: BufferedReader) -> tuple[int, list[bytes]]:
    """The code of a reply (-1 if it has none), and the lines of it that are kept."""
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
    """Read and drop the rest of a line, and return its length."""
    dropped = 0
    while line and not line.endswith(b"\n") and dropped <= LONGEST_REPLY_BYTES:
        line = stream.readline(_READ_BYTES)
        dropped += len(line)
    return dropped


class _HasSocket(Protocol):
    sock: socket.socket | None


@contextmanager
def cut_after(connection: _HasSocket, seconds: float) -> Iterator[threading.Event]:
    """Cut the connection after `seconds`, and yield an event that is set then.

    Each answer has its own time limit. This one covers all of them, for a server that sends a little at a time.
    """
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):  # repeatedly, because there may be no socket yet
            over.set()
            cut(connection)
            wait = 0.5

    threading.Thread(target=watch, name="connecting", daemon=True).start()
    try:
        yield over
    finally:
        done.set()


def cut(connection: _HasSocket) -> None:
    """End a connection from another thread: a thread that waits for it gets an error."""
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            # Not SSLSocket.shutdown(): it drops the encryption first, so a thread that is still writing would send plain text.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _text(line: str) -> str:
    """A line of a reply without its code.

    smtplib would also cut four characters off a line that has no code.
    """
    return (line[4:] if line[:3].isdigit() else line).strip()


def words(code: int, reply: bytes | str) -> str:
    """The server's reply as shown and stored: code and text, at most 1,000 characters."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return f"{code} {printable(text)}"[:1000] if code > 0 else printable(text)


def printable(text: str) -> str:
    """`text` as one line of at most 1,000 printable characters."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:1000]
