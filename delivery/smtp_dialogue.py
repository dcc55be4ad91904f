"""Mails over one SMTP connection, each recipient's reply kept: MAIL, RCPT, DATA, the final dot (RFC 5321).

Where the server offers PIPELINING (RFC 2920), a mail's content and the next mail's envelope share one flight: one round
trip per mail instead of four.
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
from delivery.values import Addressee, Outcome
from emailconfig.connection import words
from outbox.attempt_outcome import AttemptOutcome

_BROKE_EARLY = "The connection broke before the mail was handed over. It is sent again."
_BROKE_LATE = "The connection broke before the server answered. The mail may have arrived; it is sent again."
_NO_SMTPUTF8 = (
    "5.6.7 The server doesn't support addresses outside ASCII (SMTPUTF8), and this mail needs it: "
    "the sender or a recipient has such characters before the @-sign."
)

# A mail up to this size leaves in one write: each further one would wait for the server's acknowledgement.
ONE_WRITE_BYTES = 256 * 1024
_SLOWER_CODE = re.compile(r"4\d\d 4\.(7\.\d+|3\.2)\b")
_THROTTLED = re.compile(r"throttl|rate limit|sending rate|limit exceeded|too many (mails|messages|connections)|slow down", re.I)
_SERVERS_CODE = re.compile(r"421\b|4\d\d (4\.3\.\d|(?!4\.\d))")
_GREETING = re.compile(r"(?<![\w.@+-])(helo|ehlo)\b(?!@|\.\w|[\w+-])", re.I)  # and not an address
_GREYLISTED = re.compile(r"gr[ae]y-?list", re.I)
_LAST = b".\r\n"


@dataclass(frozen=True)
class Transmission:
    """What goes over the wire. An empty `sender` is the null sender. `parts`: header block and body, in pieces.

    `utf8_header`: it names an address with letters outside ASCII before the @-sign, which nothing can encode.
    """

    sender: str
    recipients: Sequence[Addressee]
    parts: Iterable[bytes]
    size: int
    eight_bit: bool = False
    utf8_header: bool = False

    @cached_property
    def needs_smtputf8(self) -> bool:
        """Addresses that only SMTPUTF8 can carry (RFC 6531): domains go as A-labels, so the local parts decide."""
        return not all(wire_address(address).isascii() for address in self.addresses)

    @property
    def addresses(self) -> list[str]:
        return [self.sender, *(recipient.address for recipient in self.recipients)]


@dataclass
class Offer:
    """A mail whose envelope was offered to the server: who was accepted, and the outcomes that are known already.

    `answered`: the server replied to MAIL FROM, so that from here on trouble is the mail's and not the stage's.
    `wants_content`: it answered DATA with 354.
    """

    mail: Transmission
    accepted: list[Addressee] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    answered: bool = False
    wants_content: bool = False

    def broken(self, *, content_sent: bool) -> list[Outcome]:
        """All outcomes when the connection breaks. With its content on the way, nobody knows whether the mail arrived."""
        known = {outcome.recipient.pk for outcome in self.outcomes}
        result = AttemptOutcome.UNKNOWN if content_sent else AttemptOutcome.DEFERRED
        step, reply = ("content", _BROKE_LATE) if content_sent else ("RCPT TO", _BROKE_EARLY)
        rest = [recipient for recipient in self.mail.recipients if recipient.pk not in known]
        return [*self.outcomes, *(Outcome(recipient, result, step, None, reply) for recipient in rest)]


class Conversation:
    """What is said on one connection. Any method may raise smtplib.SMTPException or OSError: the connection broke.

    `reply_due` is when a reply must be there, by `clock`: whoever watches cuts the connection then, from another thread.
    `last_sign` is when something was last said or heard.

    `permit` is asked before every write, and raises when these mails aren't ours to send any more.
    """

    def __init__(
        self, smtp: smtplib.SMTP, permit: Callable[[], None], clock: Callable[[], float], config: DeliveryConfig
    ) -> None:
        self.smtp, self.permit, self._clock, self._config = smtp, permit, clock, config
        self.reply_due, self.last_sign = math.inf, clock()
        self.pipelining = smtp.has_extn("pipelining")
        if smtp.sock is not None:
            _prepare_for_flights(smtp.sock, config.unsent_seconds)

    def exchange(self, current: Offer | None, following: Offer | None) -> None:
        """Send the content of `current`, whose envelope was accepted, and offer `following`, in one flight if possible."""
        envelope = self._envelope(following.mail) if following else []
        flight = "".join(f"{command}\r\n" for command in [*envelope, "DATA"]).encode() if envelope and self.pipelining else b""
        if current is not None:
            self._send_content(current.mail, flight)
            self._read_final_reply(current)
        elif flight:
            self._send(flight)
        if following is not None:
            self._read_envelope_replies(following, envelope)

    def cant_carry(self, mail: Transmission) -> str:
        """Why this server can't take the mail whatever it is told (RFC 6531 section 3.7.4.2); empty when it can."""
        return _NO_SMTPUTF8 if mail.needs_smtputf8 and not self.smtp.has_extn("smtputf8") else ""

    def _envelope(self, mail: Transmission) -> list[str]:
        """MAIL, and RCPT for each recipient."""
        command = f"MAIL FROM:<{wire_address(mail.sender) if mail.sender else ''}>"
        if self.smtp.has_extn("size"):
            command += f" SIZE={mail.size}"
        if mail.eight_bit and self.smtp.has_extn("8bitmime"):
            command += " BODY=8BITMIME"
        # Without it the header leaves all the same: most servers pass it on, and the envelope's addresses aren't to blame.
        if (mail.needs_smtputf8 or mail.utf8_header) and self.smtp.has_extn("smtputf8"):
            command += " SMTPUTF8"
        return [command, *map(_rcpt_to, mail.recipients)]

    def _ask(self, command: str) -> tuple[int, bytes]:
        """The reply to a command: with PIPELINING it was sent before."""
        if not self.pipelining:
            self._send(f"{command}\r\n".encode())
        return self._reply()

    def _reply(self) -> tuple[int, bytes]:
        return self._reply_within(self._config.reply_seconds)

    def _final_reply(self) -> tuple[int, bytes]:
        """After the content."""
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

    def _read_envelope_replies(self, offer: Offer, envelope: Sequence[str]) -> None:
        mail_from, *rcpt_to = envelope
        code, reply = self._ask(mail_from)
        if code == 421:
            raise ServerWentAway("MAIL FROM", words(code, reply))
        _go_on_unless_greeting_refused(offer, "MAIL FROM", code, reply)
        offer.answered = True
        if code != 250:
            offer.outcomes += [outcome_of(recipient, "MAIL FROM", code, reply) for recipient in offer.mail.recipients]
            _go_on_unless_confused(code, reply)
            if not self.pipelining:
                return
        for recipient, command in zip(offer.mail.recipients, rcpt_to, strict=True):
            rcpt_code, rcpt_reply = self._ask(command)
            _go_on_unless_greeting_refused(offer, "RCPT TO", rcpt_code, rcpt_reply)
            if code == 250:
                self._note_recipient(offer, recipient, rcpt_code, rcpt_reply)
            _go_on_unless_421(rcpt_code, rcpt_reply)
        self._read_data_reply(offer)

    def _note_recipient(self, offer: Offer, recipient: Addressee, code: int, reply: bytes) -> None:
        if code in (250, 251, 252):
            offer.accepted.append(recipient)
        else:
            offer.outcomes.append(outcome_of(recipient, "RCPT TO", code, reply))
            _go_on_unless_confused(code, reply)

    def _read_data_reply(self, offer: Offer) -> None:
        if not offer.accepted and not self.pipelining:
            self._reset()
            return
        code, reply = self._ask("DATA")
        _go_on_unless_greeting_refused(offer, "DATA", code, reply)
        if code == 354 and offer.accepted:
            offer.wants_content = True
            return
        offer.outcomes += [outcome_of(recipient, "DATA", code, reply) for recipient in offer.accepted]
        _go_on_unless_421(code, reply)
        if code == 354:  # asked in one flight with recipients that were all refused: nothing may be sent to nobody
            self._send(_LAST)
            self._final_reply()
        else:
            _go_on_unless_confused(code, reply)
        self._reset()

    def _send_content(self, mail: Transmission, then: bytes) -> None:
        pieces = dot_stuffed(mail.parts)
        for flight in [b"".join(pieces) + then] if mail.size <= ONE_WRITE_BYTES else chain(pieces, [then]):
            self._send(flight)

    def _read_final_reply(self, offer: Offer) -> None:
        code, reply = self._final_reply()
        offer.outcomes += [outcome_of(recipient, "content", code, reply) for recipient in offer.accepted]
        offer.wants_content = False
        _go_on_unless_421(code, reply)
        if not 200 <= code < 300:
            _go_on_unless_confused(code, reply)

    def _reset(self) -> None:
        """Clear the server's mind for the next mail."""
        self._send(b"RSET\r\n")
        self._reply()


def refused(recipients: Sequence[Addressee], reason: str) -> list[Outcome]:
    """For recipients to whom a mail is not even offered."""
    return [Outcome(recipient, AttemptOutcome.FAILED, "MAIL FROM", None, reason) for recipient in recipients]


def outcome_of(recipient: Addressee, step: str, code: int, reply: bytes) -> Outcome:
    """2xx after the content is sent, 5xx failed, and everything else is worth another try; nonsense after the content leaves
    open what became of it. A 552 to RCPT says "too many recipients" (RFC 5321 section 4.5.3.1.10)."""
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
    """No time limit of its own, which would cost two more system calls each time something is heard: `reply_due` is there for
    that. And a flight is whole when it is sent: nothing is gained by waiting for more."""
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _forget_unsent_when_closed(sock, unsent_seconds)


def _forget_unsent_when_closed(sock: socket.socket, unsent_seconds: float) -> None:
    """What was written and has not left yet would go on leaving when the process is killed or stopped: after its lease has
    run out, when nobody counts it any more. So closing drops it, and nothing waits in the kernel longer than a lease lasts
    at least."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(unsent_seconds * 1000))


def asks_to_slow_down(outcome: Outcome) -> bool:
    """Whether the server wants fewer mails from us, and not just this one later: 4.7.x or 4.3.2 (RFC 3463) to the mail,
    or in words to a recipient. Microsoft 365 says `4.3.2 … thread limit exceeded`, Amazon SES `4.7.0 Throttling failure`,
    Google `4.7.28`. Greylisting is about one sender and recipient, and passes by itself."""
    if outcome.result != AttemptOutcome.DEFERRED or _GREYLISTED.search(outcome.reply):
        return False
    return bool(_THROTTLED.search(outcome.reply)) or (outcome.step != "RCPT TO" and bool(_SLOWER_CODE.match(outcome.reply)))


def puts_off(outcomes: Sequence[Outcome]) -> Outcome | None:
    """What the server said, where it put the mail off for reasons of its own: 4xx, at RCPT only with 4.3.x (RFC 3463: the mail
    system) or without such a code."""
    answered = [one for one in outcomes if one.code is not None]
    put_off = all(one.result == AttemptOutcome.DEFERRED and not one.at_once for one in outcomes)
    return answered[0] if answered and put_off and all(map(_is_about_the_server, answered)) else None


def _is_about_the_server(outcome: Outcome) -> bool:
    if _GREYLISTED.search(outcome.reply) or not outcome.reply.startswith("4"):
        return False
    return outcome.step != "RCPT TO" or bool(_SERVERS_CODE.match(outcome.reply))


def _rcpt_to(recipient: Addressee) -> str:
    return f"RCPT TO:<{wire_address(recipient.address)}>"


def _go_on_unless_greeting_refused(offer: Offer, step: str, code: int, reply: bytes) -> None:
    """Many servers judge the EHLO name only now, and say so to every mail."""
    said = words(code, reply)
    if code >= 400 and _GREETING.search(said):
        offer.answered = False
        raise ServerWentAway(step, said)


def _go_on_unless_421(code: int, reply: bytes) -> None:
    """RFC 5321 section 3.8: with 421 the server closes, whatever was asked."""
    if code == 421:
        raise smtplib.SMTPServerDisconnected(words(code, reply))


def _go_on_unless_confused(code: int, reply: bytes) -> None:
    """An answer that fits no question: what the server takes the next words for, nobody knows."""
    if not 400 <= code < 600:
        raise smtplib.SMTPServerDisconnected(words(code, reply))


def dot_stuffed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a mail with RFC 5321 section 4.5.2's transparency, and the final dot on a line of its own."""
    before = b"\r\n"  # the last bytes said: a line may begin in one piece and end in the next
    for part in parts:
        if part:
            stuffed = (before + part).replace(b"\r\n.", b"\r\n..")
            yield stuffed[len(before) :]
            before = stuffed[-2:]
    yield _LAST if before == b"\r\n" else b"\r\n" + _LAST
