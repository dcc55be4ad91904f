"""The SMTP dialogue over one connection: MAIL, RCPT, DATA and the final dot (RFC 5321), with each recipient's reply.

Where the server offers PIPELINING (RFC 2920), a message's content and the next message's envelope share one flight. That
takes one round trip per message instead of four.
"""

from __future__ import annotations

import math
import re
import smtplib
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from common.addresses import wire_address
from delivery.config import DeliveryConfig
from delivery.exceptions import ServerWentAway
from delivery.values import DueRecipient, Outcome
from emailconfig.connection import words
from outbox.attempt_outcome import AttemptOutcome

_BROKE_EARLY = "The connection broke before the email was sent. It is sent again."
_BROKE_LATE = "The connection broke before the server answered. The email may have arrived; it is sent again."
_NO_SMTPUTF8 = (
    "5.6.7 The server doesn't support addresses outside ASCII (SMTPUTF8), and this email needs it: "
    "the sender or a recipient has such characters before the @-sign."
)

# A message up to this size leaves in one write, because each further write would wait for the server's acknowledgement.
ONE_WRITE_BYTES = 256 * 1024
_SLOWER_CODE = re.compile(r"4\d\d 4\.(7\.\d+|3\.2)\b")
_THROTTLED = re.compile(r"throttl|rate limit|sending rate|limit exceeded|too many (mail|message|connection)s|slow down", re.I)
_SERVERS_CODE = re.compile(r"421\b|4\d\d (4\.3\.\d|(?!4\.\d))")
_GREETING = re.compile(r"(?<![\w.@+-])(helo|ehlo)\b(?!@|\.\w|[\w+-])", re.I)  # not in an address
_GREYLISTED = re.compile(r"gr[ae]y-?list", re.I)
_LAST = b".\r\n"


@dataclass(frozen=True)
class OutgoingMessage:
    """What goes over the wire. An empty `sender` is the null sender. `parts`: header block and body, in pieces.

    `utf8_header`: the header names an address with letters outside ASCII before the @-sign, which no encoding can carry.
    """

    sender: str
    recipients: Sequence[DueRecipient]
    parts: Iterable[bytes]
    size: int
    eight_bit: bool = False
    utf8_header: bool = False

    @cached_property
    def needs_smtputf8(self) -> bool:
        """Whether only SMTPUTF8 can carry an address (RFC 6531). Domains go as A-labels, so the local parts decide."""
        return not all(wire_address(address).isascii() for address in self.addresses)

    @property
    def addresses(self) -> list[str]:
        return [self.sender, *(recipient.address for recipient in self.recipients)]


@dataclass
class MailTransaction:
    """A message whose envelope was offered to the server: the accepted recipients, and the outcomes that are known already.

    `answered`: the server replied to MAIL FROM, so that a later failure is the message's and not the stage's.
    `wants_content`: the server answered DATA with 354.
    """

    mail: OutgoingMessage
    accepted: list[DueRecipient] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    answered: bool = False
    wants_content: bool = False

    def broken(self, *, content_sent: bool) -> list[Outcome]:
        """All outcomes when the connection breaks. With its content on the way, the message may have arrived."""
        known = {outcome.recipient.pk for outcome in self.outcomes}
        result = AttemptOutcome.UNKNOWN if content_sent else AttemptOutcome.DEFERRED
        step, reply = ("content", _BROKE_LATE) if content_sent else ("RCPT TO", _BROKE_EARLY)
        rest = [recipient for recipient in self.mail.recipients if recipient.pk not in known]
        return [*self.outcomes, *(Outcome(recipient, result, step, None, reply) for recipient in rest)]


class SmtpDialogue:
    """The dialogue on one connection. When the connection breaks, any method may raise smtplib.SMTPException or OSError.

    `reply_due` is the time by `clock` when a reply must have come. After that the worker's watch cuts the connection, from
    another thread. `last_sign` is when something was last sent or received.

    `permit` is called before every write, and raises when these messages aren't ours to send any more.
    """

    def __init__(
        self, smtp: smtplib.SMTP, permit: Callable[[], None], clock: Callable[[], float], config: DeliveryConfig
    ) -> None:
        self.smtp, self.permit, self._clock, self._config = smtp, permit, clock, config
        self.reply_due, self.last_sign = math.inf, clock()
        self.pipelining = smtp.has_extn("pipelining")
        if smtp.sock is not None:
            _prepare_for_flights(smtp.sock, config.unsent_seconds)

    def exchange(self, current: MailTransaction | None, following: MailTransaction | None) -> None:
        """Send the content of `current`, whose envelope was accepted, and offer `following`. Use one flight if possible."""
        envelope = self._envelope(following.mail) if following else []
        flight = "".join(f"{command}\r\n" for command in [*envelope, "DATA"]).encode() if envelope and self.pipelining else b""
        if current is not None:
            self._send_content(current.mail, flight)
            self._read_final_reply(current)
        elif flight:
            self._send(flight)
        if following is not None:
            self._read_envelope_replies(following, envelope)

    def why_not_sendable(self, mail: OutgoingMessage) -> str:
        """Why this server can't accept the message at all (RFC 6531 section 3.7.4.2); empty when it can."""
        return _NO_SMTPUTF8 if mail.needs_smtputf8 and not self.smtp.has_extn("smtputf8") else ""

    def _envelope(self, mail: OutgoingMessage) -> list[str]:
        """The commands MAIL, and RCPT for each recipient."""
        command = f"MAIL FROM:<{wire_address(mail.sender) if mail.sender else ''}>"
        if self.smtp.has_extn("size"):
            command += f" SIZE={mail.size}"
        if mail.eight_bit and self.smtp.has_extn("8bitmime"):
            command += " BODY=8BITMIME"
        # Without SMTPUTF8 such a header leaves all the same: most servers pass it on, and the envelope's addresses are ASCII.
        if (mail.needs_smtputf8 or mail.utf8_header) and self.smtp.has_extn("smtputf8"):
            command += " SMTPUTF8"
        return [command, *map(_rcpt_to, mail.recipients)]

    def _ask(self, command: str) -> tuple[int, bytes]:
        """The reply to a command. With PIPELINING the command was sent before."""
        if not self.pipelining:
            self._send(f"{command}\r\n".encode())
        return self._reply()

    def _reply(self) -> tuple[int, bytes]:
        return self._reply_within(self._config.reply_seconds)

    def _final_reply(self) -> tuple[int, bytes]:
        """The reply after the content."""
        return self._reply_within(self._config.final_reply_seconds)

    def _reply_within(self, seconds: float) -> tuple[int, bytes]:
        self.reply_due = self._clock() + seconds
        try:
            return self.smtp.getreply()
        finally:
            self.reply_due, self.last_sign = math.inf, self._clock()

    def _send(self, flight: bytes) -> None:
        self.permit()
        self.smtp.send(flight)
        self.last_sign = self._clock()

    def _read_envelope_replies(self, transaction: MailTransaction, envelope: Sequence[str]) -> None:
        mail_from, *rcpt_to = envelope
        code, reply = self._ask(mail_from)
        if code == 421:
            raise ServerWentAway("MAIL FROM", words(code, reply))
        _go_on_unless_greeting_refused(transaction, "MAIL FROM", code, reply)
        transaction.answered = True
        if code != 250:
            transaction.outcomes += [outcome_of(recipient, "MAIL FROM", code, reply) for recipient in transaction.mail.recipients]
            _go_on_unless_confused(code, reply)
            if not self.pipelining:
                return
        for recipient, command in zip(transaction.mail.recipients, rcpt_to, strict=True):
            rcpt_code, rcpt_reply = self._ask(command)
            _go_on_unless_greeting_refused(transaction, "RCPT TO", rcpt_code, rcpt_reply)
            if code == 250:
                self._note_recipient(transaction, recipient, rcpt_code, rcpt_reply)
            _go_on_unless_421(rcpt_code, rcpt_reply)
        self._read_data_reply(transaction)

    def _note_recipient(self, transaction: MailTransaction, recipient: DueRecipient, code: int, reply: bytes) -> None:
        if code in (250, 251, 252):
            transaction.accepted.append(recipient)
        else:
            transaction.outcomes.append(outcome_of(recipient, "RCPT TO", code, reply))
            _go_on_unless_confused(code, reply)

    def _read_data_reply(self, transaction: MailTransaction) -> None:
        if not transaction.accepted and not self.pipelining:
            self._reset()
            return
        code, reply = self._ask("DATA")
        _go_on_unless_greeting_refused(transaction, "DATA", code, reply)
        if code == 354 and transaction.accepted:
            transaction.wants_content = True
            return
        transaction.outcomes += [outcome_of(recipient, "DATA", code, reply) for recipient in transaction.accepted]
        _go_on_unless_421(code, reply)
        if code == 354:  # DATA was in one flight with recipients that were all refused, so the content must stay empty
            self._send(_LAST)
            self._final_reply()
        else:
            _go_on_unless_confused(code, reply)
        self._reset()

    def _send_content(self, mail: OutgoingMessage, then: bytes) -> None:
        pieces = dot_stuffed(mail.parts)
        for flight in [b"".join(pieces) + then] if mail.size <= ONE_WRITE_BYTES else chain(pieces, [then]):
            self._send(flight)

    def _read_final_reply(self, transaction: MailTransaction) -> None:
        code, reply = self._final_reply()
        transaction.outcomes += [outcome_of(recipient, "content", code, reply) for recipient in transaction.accepted]
        transaction.wants_content = False
        _go_on_unless_421(code, reply)
        if not 200 <= code < 300:
            _go_on_unless_confused(code, reply)

    def _reset(self) -> None:
        """Reset the server's state for the next message (RSET)."""
        self._send(b"RSET\r\n")
        self._reply()


def refused(recipients: Sequence[DueRecipient], reason: str) -> list[Outcome]:
    """The outcomes of recipients to whom a message is not even offered."""
    return [Outcome(recipient, AttemptOutcome.FAILED, "MAIL FROM", None, reason) for recipient in recipients]


def outcome_of(recipient: DueRecipient, step: str, code: int, reply: bytes) -> Outcome:
    """The outcome that a reply means for a recipient.

    2xx after the content means sent, 5xx means failed, and everything else is worth another try. An invalid reply after the
    content leaves the outcome unknown. A 552 to RCPT says "too many recipients" (RFC 5321 section 4.5.3.1.10).
    """
    if 200 <= code < 300 and step == "content":
        result = AttemptOutcome.SENT
    elif 500 <= code < 600 and not (code == 552 and step == "RCPT TO"):
        result = AttemptOutcome.FAILED
    elif step == "content" and not 400 <= code < 500:
        result = AttemptOutcome.UNKNOWN
    else:
        result = AttemptOutcome.DEFERRED
    return Outcome(recipient, result, step, code if 200 <= code < 600 else None, words(code, reply))


def _prepare_for_flights(sock: socket.socket, unsent_seconds: float) -> None:
    """Set the socket's options for whole flights.

    It has no time limit of its own, which would cost two more system calls at each read; `reply_due` limits the time instead.
    A flight is complete when it is sent, so waiting for more bytes (Nagle) gains nothing.
    """
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _discard_unsent_on_close(sock, unsent_seconds)


def _discard_unsent_on_close(sock: socket.socket, unsent_seconds: float) -> None:
    """Discard unsent bytes when the socket is closed, and let none wait in the kernel longer than the shortest lease.

    Otherwise the kernel would go on sending them when the process is killed or stopped. That could happen after the lease has
    run out, when the message may belong to another worker.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unsent_seconds * 1000))


def is_throttling(outcome: Outcome) -> bool:
    """Whether the server wants fewer messages from us, and not just this one later.

    It says so with 4.7.x or 4.3.2 (RFC 3463) to the message, or in words to a recipient. Microsoft 365 says `4.3.2 … thread
    limit exceeded`, Amazon SES `4.7.0 Throttling failure`, Google `4.7.28`. Greylisting doesn't count, because it concerns one
    sender and recipient and ends on its own.
    """
    if outcome.result != AttemptOutcome.DEFERRED or _GREYLISTED.search(outcome.reply):
        return False
    return bool(_THROTTLED.search(outcome.reply)) or (outcome.step != "RCPT TO" and bool(_SLOWER_CODE.match(outcome.reply)))


def server_deferral(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The server's answer when it deferred the message for reasons of its own; otherwise None.

    That is any 4xx. At RCPT it is only a 4xx with 4.3.x (RFC 3463: the mail system) or without an enhanced code.
    """
    answered = [outcome for outcome in outcomes if outcome.code is not None]
    put_off = all(outcome.result == AttemptOutcome.DEFERRED and not outcome.at_once for outcome in outcomes)
    return answered[0] if answered and put_off and all(map(_is_about_the_server, answered)) else None


def _is_about_the_server(outcome: Outcome) -> bool:
    if _GREYLISTED.search(outcome.reply) or not outcome.reply.startswith("4"):
        return False
    return outcome.step != "RCPT TO" or bool(_SERVERS_CODE.match(outcome.reply))


def _rcpt_to(recipient: DueRecipient) -> str:
    return f"RCPT TO:<{wire_address(recipient.address)}>"


def _go_on_unless_greeting_refused(transaction: MailTransaction, step: str, code: int, reply: bytes) -> None:
    """Raise ServerWentAway for a complaint about our greeting.

    Many servers check the EHLO name only now, and refuse every message for it.
    """
    answer = words(code, reply)
    if code >= 400 and _GREETING.search(answer):
        transaction.answered = False
        raise ServerWentAway(step, answer)


def _go_on_unless_421(code: int, reply: bytes) -> None:
    """Raise SMTPServerDisconnected for 421: the server closes then, whatever the command was (RFC 5321 section 3.8)."""
    if code == 421:
        raise smtplib.SMTPServerDisconnected(words(code, reply))


def _go_on_unless_confused(code: int, reply: bytes) -> None:
    """Raise SMTPServerDisconnected for a reply that fits no command.

    It is not known how the server would understand the next command.
    """
    if not 400 <= code < 600:
        raise smtplib.SMTPServerDisconnected(words(code, reply))


def dot_stuffed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a message with RFC 5321 section 4.5.2's transparency, and the final dot on a line of its own."""
    before = b"\r\n"  # the last bytes sent: a line may begin in one piece and end in the next
    for part in parts:
        if part:
            stuffed = (before + part).replace(b"\r\n.", b"\r\n..")
            yield stuffed[len(before) :]
            before = stuffed[-2:]
    yield _LAST if before == b"\r\n" else b"\r\n" + _LAST
