"""Request a token from a token server.

The answer is limited in size and time, and checked. Redirects aren't followed.
"""

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
# If the server doesn't say how long its token is valid (RFC 6749 section 5.1 only recommends it).
_UNSAID_LIFETIME = 300
# RFC 6750 section 2.1. Above all, a token in an SMTP command must not contain a line break.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def request_token(settings: SmtpSettings) -> tuple[str, int]:
    """Request a token, and return it with its lifetime in seconds.

    Raises ConnectionTrouble, which never contains the secret.
    """
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
            if over.is_set():  # a connection that was cut looks like a broken one, or like the end of the answer
                raise TimeoutError


class _Line:
    """The connection to the token server.

    It is kept here because http.client drops its own before the body of the answer is read.
    """

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
    """A context that verifies certificates and uses TLS 1.2 or newer.

    It trusts the system's authorities and the stage's own CA. The SMTP server's context trusts only one of them, but your own
    SMTP server often goes with a provider's token server.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_certificate:
        context.load_verify_locations(cadata=settings.ca_certificate)
    return context


def _form(settings: SmtpSettings, secret: str) -> tuple[dict[str, str], dict[str, str]]:
    """The form to post, and its headers.

    The client authenticates in the form or in a header (RFC 6749 section 2.3.1).
    """
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
    """The value of the Basic header.

    A space is %20, because not every server decodes a plus sign.
    """
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
        raise ConnectionTrouble(STEP, "token_server_not_found", f"The name servers don't answer. {error}") from error
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
    """The code of the explanation for a refusal.

    A 401 without JSON, such as a proxy's page, says nothing about the client.
    """
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
            STEP, "token_answer_unusable", "It has no access_token, or one with characters that no token has."
        )
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ConnectionTrouble(STEP, "token_answer_unusable", f"The token has the type {shown(kind)[:100]}.")
    return token


def _lifetime(answer: dict[str, Any], shown: Callable[[object], str]) -> int:
    """The lifetime of the token in seconds.

    Some servers write the number as text or with a fraction.
    """
    said = answer.get("expires_in")
    if said is None:
        return _UNSAID_LIFETIME
    number = re.fullmatch(r"([0-9]{1,10})(?:\.[0-9]+)?", str(said))
    if number is None or int(number[1]) < 1:
        raise ConnectionTrouble(STEP, "token_answer_unusable", f"Its lifetime is “{shown(said)[:100]}” seconds.")
    return min(int(number[1]), _LONGEST_LIFETIME)
