"""Turn failures to open a connection into one exception with an explanation."""

from __future__ import annotations

import errno
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common.exceptions import PortalError, UndecryptableSecret
from emailconfig.connection.explanations import EXPLANATIONS, REFUSED_SIGN_INS, meaning_of
from emailconfig.connection.networks import has_no_route
from emailconfig.connection.smtp import words
from emailconfig.exceptions import AddressRefused, NameNotUsable, NameServersSilent

# OpenSSL's X509_V_ERR_…
_CERTIFICATE = {
    9: "certificate_not_yet_valid",
    10: "certificate_expired",
    18: "certificate_self_signed",
    19: "certificate_unknown_authority",
    20: "certificate_unknown_authority",
    21: "certificate_unknown_authority",
    62: "certificate_wrong_name",
    64: "certificate_wrong_name",
}
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
_OLD_TLS = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")
_FIRST_STEPS = ("TCP", "TLS", "greeting")


@dataclass
class ConnectionFailure(PortalError):
    """Why no message can be delivered.

    `code` names the explanation. `evidence` is the reply of the server or the error of the system, and `recipients` are the
    addresses that it may refer to. `for_operator` is more exact than pages may be, because it reveals something about the
    internal network.
    """

    step: str
    code: str
    evidence: str = ""
    for_operator: ConnectionFailure | None = None
    recipients: tuple[str, ...] = ()

    @property
    def cause(self) -> str:
        return EXPLANATIONS[self.code].cause

    @property
    def next_step(self) -> str:
        return EXPLANATIONS[self.code].next_step

    @property
    def advice(self) -> str:
        """The next step without what delivery does, for a connection test."""
        return EXPLANATIONS[self.code].advice

    @property
    def needs_a_person(self) -> bool:
        return EXPLANATIONS[self.code].needs_a_person

    @property
    def waits_longer(self) -> bool:
        """Whether trying again soon may lock the account."""
        return self.code in REFUSED_SIGN_INS

    def __str__(self) -> str:
        return f"{self.cause} {self.evidence}".strip()


@contextmanager
def diagnosing(step: str) -> Iterator[None]:
    """Turn every error of a step into ConnectionFailure."""
    try:
        yield
    except ConnectionFailure:
        raise
    except UndecryptableSecret as error:
        raise ConnectionFailure(step, "secret_unreadable") from error
    except NameNotUsable as error:
        exact = ConnectionFailure(step, *_diagnosis(step, error.reason))
        raise ConnectionFailure(step, "name_not_usable", for_operator=exact) from error
    except (OSError, smtplib.SMTPException, AddressRefused, NameServersSilent) as error:
        code, evidence = _diagnosis(step, error)
        raise ConnectionFailure(step, code, evidence) from error


def _diagnosis(step: str, error: Exception) -> tuple[str, str]:
    """The code of the explanation, and the evidence."""
    match error:
        case AddressRefused():
            return "address_refused", ""
        case NameServersSilent():
            return "name_servers_silent", str(error)
        case smtplib.SMTPException():
            return _smtp(step, error)
        case ssl.SSLError():
            return _tls(step, error)
        case _:
            return _network(step, error), getattr(error, "strerror", None) or str(error)


def _smtp(step: str, error: smtplib.SMTPException) -> tuple[str, str]:
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused(step, error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return (_silence(step) if "timed out" in str(error) else "dropped"), str(error)
    return "unintelligible", str(error)  # ReplyTooLong, for one


def _refused(step: str, code: int, reply: bytes | str) -> tuple[str, str]:
    answer = words(code, reply)
    if not 200 <= code < 600:  # smtplib's code for a reply without a number
        return ("not_smtp" if step in _FIRST_STEPS else "unintelligible"), answer
    return meaning_of(step, answer), answer


def _tls(step: str, error: ssl.SSLError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE.get(error.verify_code, "certificate_not_verified"), error.verify_message
    reason = str(error.reason or error)
    if reason in _NO_TLS and step == "TLS":
        return "no_tls_from_the_start", reason
    if reason in _OLD_TLS:
        return "tls_too_old", reason
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "dropped", reason
    return "tls_failed", reason


def _network(step: str, error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "name_not_found"
    if isinstance(error, TimeoutError):
        return _silence(step)
    if isinstance(error, ConnectionRefusedError):
        return "connection_refused"
    if isinstance(error, ConnectionError) or (isinstance(error, OSError) and error.errno == errno.ENOTCONN):
        return "dropped"
    return "unreachable" if isinstance(error, OSError) and has_no_route(error) else "connection_failed"


def _silence(step: str) -> str:
    return {"TCP": "connect_timeout", "greeting": "silent"}.get(step, "no_answer")
