"""One mail over the wire, step by step, each recipient's reply kept: MAIL, RCPT, DATA, the final dot (RFC 5321)."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Transmitted:
    """One outcome per recipient, and whether the connection can carry another mail."""

    outcomes: list[Outcome]
    connection_usable: bool = True


def transmit(smtp: smtplib.SMTP, mail: Transmission) -> Transmitted:
    """Hand `mail` to the server. Raises ServerWentAway when the server left before it answered MAIL FROM."""
    if mail.needs_smtputf8 and not smtp.has_extn("smtputf8"):
        return Transmitted(_same_for_all(mail.recipients, "MAIL FROM", 553, _NO_SMTPUTF8))
    code, reply = _mail_from(smtp, mail)
    if code != 250:
        return _after_refusal(smtp, _same_for_all(mail.recipients, "MAIL FROM", code, words(code, reply)), code)
    outcomes: list[Outcome] = []
    try:
        accepted = _rcpt_to(smtp, mail.recipients, outcomes)
        if not accepted:
            return _after_refusal(smtp, outcomes, outcomes[-1].code)
        code, reply = smtp.docmd("DATA")
    except (smtplib.SMTPException, OSError):
        return Transmitted(outcomes + _broken(mail.recipients, outcomes), connection_usable=False)
    if code != 354:
        return _after_refusal(smtp, outcomes + _same_for_all(accepted, "DATA", code, words(code, reply)), code)
    return _content(smtp, mail, accepted, outcomes)


def _rcpt_to(smtp: smtplib.SMTP, recipients: Sequence[Recipient], outcomes: list[Outcome]) -> list[Recipient]:
    """The recipients the server takes; those it refuses get their outcome at once."""
    accepted = []
    for recipient in recipients:
        code, reply = smtp.docmd("RCPT", f"TO:<{wire_address(recipient.address)}>")
        if code in (250, 251, 252):
            accepted.append(recipient)
        else:
            outcomes.append(_outcome(recipient, "RCPT TO", code, words(code, reply)))
        if code == 421:
            raise smtplib.SMTPServerDisconnected(words(code, reply))
    return accepted


def _mail_from(smtp: smtplib.SMTP, mail: Transmission) -> tuple[int, bytes]:
    options = []
    if smtp.has_extn("size"):
        options.append(f"SIZE={mail.size}")
    if smtp.has_extn("8bitmime") and not (mail.header.isascii() and mail.body.isascii()):
        options.append("BODY=8BITMIME")
    if smtp.has_extn("smtputf8") and (mail.needs_smtputf8 or not mail.header.isascii()):
        options.append("SMTPUTF8")
    smtp.command_encoding = "utf-8" if mail.needs_smtputf8 else "ascii"
    sender = wire_address(mail.sender) if mail.sender else ""
    try:
        code, reply = smtp.docmd("MAIL", " ".join([f"FROM:<{sender}>", *options]))
    except (smtplib.SMTPException, OSError) as error:
        raise ServerWentAway(str(error)) from error
    if code == 421:
        raise ServerWentAway(words(code, reply))
    return code, reply


def _content(smtp: smtplib.SMTP, mail: Transmission, accepted: Sequence[Recipient], outcomes: list[Outcome]) -> Transmitted:
    """From here on a missing answer means: nobody knows whether it arrived."""
    try:
        for part in (mail.header, mail.body):
            smtp.send(_dot_stuffed(part))
        smtp.send(b".\r\n" if (mail.body or mail.header).endswith(b"\r\n") else b"\r\n.\r\n")
        code, reply = smtp.getreply()
    except (smtplib.SMTPException, OSError):
        unknown = [Outcome(recipient, Attempt.Outcome.UNKNOWN, "content", None, _BROKE_LATE) for recipient in accepted]
        return Transmitted(outcomes + unknown, connection_usable=False)
    return Transmitted(outcomes + _same_for_all(accepted, "content", code, words(code, reply)), connection_usable=code != 421)


def _dot_stuffed(part: bytes) -> bytes:
    """RFC 5321 section 4.5.2. Header and body each start a line."""
    stuffed = part.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if part.startswith(b".") else stuffed


def _after_refusal(smtp: smtplib.SMTP, outcomes: list[Outcome], code: int | None) -> Transmitted:
    """Clear the server's mind for the next mail."""
    if code == 421:
        return Transmitted(outcomes, connection_usable=False)
    try:
        smtp.docmd("RSET")
    except (smtplib.SMTPException, OSError):
        return Transmitted(outcomes, connection_usable=False)
    return Transmitted(outcomes)


def _same_for_all(recipients: Sequence[Recipient], step: str, code: int, reply: str) -> list[Outcome]:
    return [_outcome(recipient, step, code, reply) for recipient in recipients]


def _outcome(recipient: Recipient, step: str, code: int, reply: str) -> Outcome:
    """2xx is sent, 5xx failed, and everything else, nonsense included, is worth another try."""
    if 200 <= code < 300:
        result = Attempt.Outcome.SENT
    elif 500 <= code < 600:
        result = Attempt.Outcome.FAILED
    else:
        result = Attempt.Outcome.DEFERRED
    return Outcome(recipient, result, step, code if 200 <= code < 600 else None, reply)


def _broken(recipients: Sequence[Recipient], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """For everybody who has no outcome yet when the connection breaks before any content was sent."""
    done = {outcome.recipient.pk for outcome in outcomes}
    rest = [recipient for recipient in recipients if recipient.pk not in done]
    return [Outcome(recipient, Attempt.Outcome.DEFERRED, "RCPT TO", None, _BROKE_EARLY) for recipient in rest]
