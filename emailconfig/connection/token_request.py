"""Asking a token server for a token. What it answers is limited in size and time, checked, and followed nowhere."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote, quote_plus, urlencode, urlsplit

from emailconfig.connection import networks
from emailconfig.connection.smtp import HIDDEN, cut_after, printable
from emailconfig.connection.trouble import ConnectionTrouble, explained
from emailconfig.exceptions import AddressRefused, NameNotUsable, NameServersSilent
from emailconfig.models import SmtpSettings

STEP = "token"
ASK_SECONDS = 15.0
_ANSWER_BYTES = 64 * 1024
_LONGEST_LIFETIME = 24 * 60 * 60
# Where the server doesn't say how long its token lasts (RFC 6749 section 5.1 only recommends that it does).
_UNSAID_LIFETIME = 300
# RFC 6750 section 2.1. What goes into an SMTP command must not hold a line break above all.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def request_token(settings: SmtpSettings) -> tuple[str, int]:
    """A fresh token and for how many seconds it holds. Raises ConnectionTrouble; the secret is in no part of it."""
    with explained(STEP):
        secret = settings.reveal_secret()
    with _explained():
        status, reason, body = _post(settings, secret)

    def shown(said: object) -> str:
        text = str(said)
        for hidden in (_basic(settings, secret), quote(secret, safe=""), quote_plus(secret), secret):
            text = text.replace(hidden, HIDDEN)
        return printable(text)

    if 300 <= status < 400:
        raise ConnectionTrouble(STEP, "token_redirected", shown(f"{status} {reason}"))
    if len(body) > _ANSWER_BYTES:
        raise ConnectionTrouble(STEP, "token_answer_unusable", f"An answer of more than {_ANSWER_BYTES:,} bytes.")
    answer = _read(body)
    if status != 200:
        error = str(answer.get("error", ""))
        said = shown(f"{status} {error} {answer.get('error_description', '')}")
        raise ConnectionTrouble(STEP, _meaning(status, answer), said)
    return _token(answer, shown), _lifetime(answer, shown)


def _post(settings: SmtpSettings, secret: str) -> tuple[int, str, bytes]:
    url = urlsplit(settings.token_url)
    host, is_https = url.hostname or "", url.scheme == "https"
    port = url.port or (443 if is_https else 80)
    connection, line = http.client.HTTPConnection(host, port), _Line()
    form, headers = _form(settings, secret)
    with closing(connection), closing(line), cut_after(line, ASK_SECONDS) as over:
        try:
            line.open(host, port, _tls_context(settings) if is_https else None)
            connection.sock = line.sock
            connection.request("POST", f"{url.path or '/'}?{url.query}".rstrip("?"), urlencode(form), headers)
            answer = connection.getresponse()
            return answer.status, answer.reason, answer.read(_ANSWER_BYTES + 1)
        finally:
            if over.is_set():  # a line that was cut looks like one that broke, or like the end of the answer
                raise TimeoutError


class _Line:
    """The way to the token server. Kept here, because http.client lets go of its own before the answer's body is read."""

    sock: socket.socket | None = None

    def open(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self.sock = networks.reach(networks.resolve(host, port))
        self.sock.settimeout(ASK_SECONDS)
        if context is not None:
            encrypted_sock = context.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
            self.sock = encrypted_sock
            encrypted_sock.do_handshake()

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()


def _tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    """Verifies against the system's authorities and the stage's own CA; TLS 1.2 or newer.

    Both, unlike for the SMTP server: an SMTP server of one's own often goes with a provider's token server.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_certificate:
        context.load_verify_locations(cadata=settings.ca_certificate)
    return context


def _form(settings: SmtpSettings, secret: str) -> tuple[dict[str, str], dict[str, str]]:
    """What is sent, and its headers. The client proves itself in the form or in a header (RFC 6749 section 2.3.1)."""
    form = {"grant_type": "client_credentials"}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", "Connection": "close"}
    if settings.scopes:
        form["scope"] = settings.scopes
    if settings.client_authentication == SmtpSettings.ClientAuthentication.BASIC:
        headers["Authorization"] = f"Basic {_basic(settings, secret)}"
    else:
        form |= {"client_id": settings.client_id, "client_secret": secret}
    return form, headers


def _basic(settings: SmtpSettings, secret: str) -> str:
    """A space as %20: not every server takes a plus sign for one."""
    pair = f"{quote(settings.client_id, safe='')}:{quote(secret, safe='')}"
    return base64.b64encode(pair.encode()).decode()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except NameNotUsable as error:
        raise ConnectionTrouble(STEP, "name_not_usable", for_operator=_exact(error.reason)) from error
    except AddressRefused as error:
        raise ConnectionTrouble(STEP, "token_server_refused") from error
    except NameServersSilent as error:
        raise ConnectionTrouble(STEP, "token_server_not_found", f"The name servers give no answer. {error}") from error
    except ssl.SSLCertVerificationError as error:
        raise ConnectionTrouble(STEP, "token_server_certificate", error.verify_message) from error
    except TimeoutError as error:
        raise ConnectionTrouble(STEP, "token_timeout") from error
    except OSError as error:
        raise ConnectionTrouble(STEP, "token_server_unreachable", printable(error.strerror or str(error))) from error
    except http.client.HTTPException as error:
        raise ConnectionTrouble(STEP, "token_answer_unusable", type(error).__name__) from error


def _exact(reason: AddressRefused | socket.gaierror) -> ConnectionTrouble:
    if isinstance(reason, AddressRefused):
        return ConnectionTrouble(STEP, "token_server_refused")
    return ConnectionTrouble(STEP, "token_server_not_found", reason.strerror or "")


def _read(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _meaning(status: int, answer: dict[str, Any]) -> str:
    """A 401 without JSON, such as a proxy's page, says nothing about the client."""
    error = str(answer.get("error", ""))
    if status == 429 or status >= 500:
        return "token_server_error"
    if (status == 401 and answer) or error == "invalid_client":
        return "token_client_refused"
    return "token_scope_refused" if error == "invalid_scope" else "token_request_refused"


def _token(answer: dict[str, Any], shown: Callable[[object], str]) -> str:
    token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ConnectionTrouble(
            STEP, "token_answer_unusable", "There is no access_token in it, or one with characters no token has."
        )
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ConnectionTrouble(STEP, "token_answer_unusable", f"A token of type {shown(kind)[:100]}.")
    return token


def _lifetime(answer: dict[str, Any], shown: Callable[[object], str]) -> int:
    """In seconds. Some servers write the number as text, or with a fraction."""
    said = answer.get("expires_in")
    if said is None:
        return _UNSAID_LIFETIME
    number = re.fullmatch(r"([0-9]{1,10})(?:\.[0-9]+)?", str(said))
    if number is None or int(number[1]) < 1:
        raise ConnectionTrouble(STEP, "token_answer_unusable", f"It holds for “{shown(said)[:100]}” seconds.")
    return min(int(number[1]), _LONGEST_LIFETIME)
