"""Mails over one SMTP connection, each recipient's reply kept: MAIL, RCPT, DATA, the final dot (RFC 5321).

Where the server offers PIPELINING (RFC 2920), a mail's content and the next mail's envelope share one flight: one round
trip per mail instead of four.
"""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from emailconfig.connection import words
from organization.addresses import wire_address
from outbox.models import Attempt, Recipient
from outbox.outcomes import Outcome

_BROKE_EARLY = "The connection broke before the mail was handed over. It is sent again."
_BROKE_LATE = "The connection broke before the server answered. The mail may have arrived; it is sent again."
_NO_SMTPUTF8 = (
    "5.6.7 The server doesn't support addresses outside ASCII (SMTPUTF8), and this mail needs it: "
    "the sender or a recipient has such characters before the @-sign."
)


ONE_WRITE_BYTES = 256 * 1024


class ServerWentAway(Exception):
    """The server closed the session before it took up the mail: the stage's trouble, not the mail's."""


@dataclass(frozen=True)
class Transmission:
    """What goes over the wire. An empty `sender` is the null sender."""

    sender: str
    recipients: Sequence[Recipient]
    header: bytes
    body: bytes

    @property
    def needs_smtputf8(self) -> bool:
        """Addresses that only SMTPUTF8 can carry (RFC 6531): domains go as A-labels, so the local parts decide."""
        return not all(wire_address(address).isascii() for address in self._addresses)

    @property
    def _addresses(self) -> list[str]:
        return [self.sender, *(recipient.address for recipient in self.recipients)]

    @property
    def size(self) -> int:
        return len(self.header) + len(self.body)


@dataclass
class Offer:
    """A mail whose envelope was offered to the server: who was accepted, and the outcomes that are known already.

    `answered`: the server replied to MAIL FROM, so that from here on trouble is the mail's and not the stage's.
    `wants_content`: it answered DATA with 354.
    """

    mail: Transmission
    accepted: list[Recipient] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    answered: bool = False
    wants_content: bool = False

    def broken(self, *, content_sent: bool) -> list[Outcome]:
        """All outcomes when the connection breaks. With its content on the way, nobody knows whether the mail arrived."""
        known = {outcome.recipient.pk for outcome in self.outcomes}
        result = Attempt.Outcome.UNKNOWN if content_sent else Attempt.Outcome.DEFERRED
        step, reply = ("content", _BROKE_LATE) if content_sent else ("RCPT TO", _BROKE_EARLY)
        rest = [recipient for recipient in self.mail.recipients if recipient.pk not in known]
        return [*self.outcomes, *(Outcome(recipient, result, step, None, reply) for recipient in rest)]


class Conversation:
    """What is said on one connection. Any method may raise smtplib.SMTPException or OSError: the connection broke."""

    def __init__(self, smtp: smtplib.SMTP) -> None:
        self.smtp = smtp
        self.pipelining = smtp.has_extn("pipelining")
        if smtp.sock is not None:  # a flight is whole when it is sent: nothing is gained by waiting for more
            smtp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, current: Offer | None, following: Offer | None) -> None:
        """Send the content of `current`, whose envelope was accepted, and offer `following`, in one flight if possible."""
        flight = self._commands(following) if following and self.pipelining else b""
        if current is not None:
            self._send_content(current.mail, flight)
            self._read_final_reply(current)
        elif flight:
            self.smtp.send(flight)
        if following is not None:
            self._read_envelope_replies(following)

    def cant_carry(self, mail: Transmission) -> str:
        """Why this server can't take the mail whatever it is told (RFC 6531 section 3.7.4.2); empty when it can."""
        return _NO_SMTPUTF8 if mail.needs_smtputf8 and not self.smtp.has_extn("smtputf8") else ""

    def _commands(self, offer: Offer) -> bytes:
        lines = [self._mail_from(offer.mail), *map(_rcpt_to, offer.mail.recipients), "DATA"]
        return "".join(f"{line}\r\n" for line in lines).encode()

    def _mail_from(self, mail: Transmission) -> str:
        options = []
        if self.smtp.has_extn("size"):
            options.append(f"SIZE={mail.size}")
        if self.smtp.has_extn("8bitmime") and not (mail.header.isascii() and mail.body.isascii()):
            options.append("BODY=8BITMIME")
        if self.smtp.has_extn("smtputf8") and (mail.needs_smtputf8 or not mail.header.isascii()):
            options.append("SMTPUTF8")
        sender = wire_address(mail.sender) if mail.sender else ""
        return " ".join([f"MAIL FROM:<{sender}>", *options])

    def _ask(self, command: str) -> tuple[int, bytes]:
        """The reply to a command: with PIPELINING it was sent before."""
        if not self.pipelining:
            self.smtp.send(f"{command}\r\n".encode())
        return self.smtp.getreply()

    def _read_envelope_replies(self, offer: Offer) -> None:
        code, reply = self._ask(self._mail_from(offer.mail))
        if code == 421:
            raise ServerWentAway(words(code, reply))
        offer.answered = True
        if code != 250:
            offer.outcomes += [outcome_of(recipient, "MAIL FROM", code, reply) for recipient in offer.mail.recipients]
            if not self.pipelining:
                return
        for recipient in offer.mail.recipients:
            rcpt_code, rcpt_reply = self._ask(_rcpt_to(recipient))
            _go_on_unless_421(rcpt_code, rcpt_reply)
            if code != 250:
                continue  # answered already: there was no transaction
            if rcpt_code in (250, 251, 252):
                offer.accepted.append(recipient)
            else:
                offer.outcomes.append(outcome_of(recipient, "RCPT TO", rcpt_code, rcpt_reply))
        self._read_data_reply(offer)

    def _read_data_reply(self, offer: Offer) -> None:
        if not offer.accepted and not self.pipelining:
            self._reset()
            return
        code, reply = self._ask("DATA")
        if code == 354 and offer.accepted:
            offer.wants_content = True
            return
        if code == 354:  # asked in one flight with recipients that were all refused: nothing may be sent to nobody
            self.smtp.send(b".\r\n")
            self.smtp.getreply()
        _go_on_unless_421(code, reply)
        offer.outcomes += [outcome_of(recipient, "DATA", code, reply) for recipient in offer.accepted]
        self._reset()

    def _send_content(self, mail: Transmission, then: bytes) -> None:
        """In one write where it is small: each further one would wait for the server's acknowledgement."""
        end = b".\r\n" if (mail.body or mail.header).endswith(b"\r\n") else b"\r\n.\r\n"
        parts = [_dot_stuffed(mail.header), _dot_stuffed(mail.body), end + then]
        for flight in [b"".join(parts)] if mail.size <= ONE_WRITE_BYTES else parts:
            self.smtp.send(flight)

    def _read_final_reply(self, offer: Offer) -> None:
        code, reply = self.smtp.getreply()
        offer.outcomes += [outcome_of(recipient, "content", code, reply) for recipient in offer.accepted]
        offer.wants_content = False
        _go_on_unless_421(code, reply)

    def _reset(self) -> None:
        """Clear the server's mind for the next mail."""
        self.smtp.send(b"RSET\r\n")
        self.smtp.getreply()


def refused(mail: Transmission, reason: str) -> list[Outcome]:
    """For a mail that is not even offered."""
    return [Outcome(recipient, Attempt.Outcome.FAILED, "MAIL FROM", None, reason) for recipient in mail.recipients]


def outcome_of(recipient: Recipient, step: str, code: int, reply: bytes) -> Outcome:
    """2xx is sent, 5xx failed, and everything else, nonsense included, is worth another try."""
    if 200 <= code < 300:
        result = Attempt.Outcome.SENT
    elif 500 <= code < 600:
        result = Attempt.Outcome.FAILED
    else:
        result = Attempt.Outcome.DEFERRED
    return Outcome(recipient, result, step, code if 200 <= code < 600 else None, words(code, reply))


def _rcpt_to(recipient: Recipient) -> str:
    return f"RCPT TO:<{wire_address(recipient.address)}>"


def _go_on_unless_421(code: int, reply: bytes) -> None:
    """RFC 5321 section 3.8: with 421 the server closes, whatever was asked."""
    if code == 421:
        raise smtplib.SMTPServerDisconnected(words(code, reply))


def _dot_stuffed(part: bytes) -> bytes:
    """RFC 5321 section 4.5.2. Header and body each start a line."""
    stuffed = part.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if part.startswith(b".") else stuffed
