"""Check single values of SMTP settings.

Each check raises a ValidationError that says what is wrong and how to fix it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
from collections.abc import Collection
from urllib.parse import urlsplit

import idna
from django.conf import settings
from django.core.exceptions import ValidationError

from common.addresses import printable
from emailconfig.address_rules import is_never_allowed

PORT_25_REFUSED = "SMTP port 25 isn't supported: it is often targeted for spam and restricted by providers. Use 587."
_TOKEN_URL_MAX_LENGTH = 1000
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_LABEL = re.compile(r"\A[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
# A host whose last label is a number is an IPv4 address in one of its odd spellings, such as 127.1 or 0x7f000001.
_NUMBER = re.compile(r"\A(?:[0-9]+|0x[0-9a-f]*)\Z")


def validate_port(port: int) -> None:
    """Check a TCP port for SMTP: 1 to 65535, but never 25."""
    if port == 25:
        raise ValidationError(PORT_25_REFUSED, code="port_25")
    if not 1 <= port <= 65535:
        raise ValidationError("Enter a number from 1 to 65535. The usual port for sending email is 587.", code="port_range")


def normalize_server(text: str) -> str:
    """The server as it is stored: an IP address or a host name.

    A host name is in lower case and A-label form (RFC 5890). Raises ValidationError for a URL, a port, user information, white
    space, or an invalid host name.
    """
    text = text.strip()
    _refuse_what_is_not_a_host(text)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        name = text.encode("ascii").decode() if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValidationError(f"“{printable(text)}” isn't a host name: {error}.") from error
    name = name.rstrip(".").lower()
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.match(label) for label in labels) or _NUMBER.match(labels[-1]):
        raise ValidationError(f"“{printable(text)}” is neither a host name, such as smtp.example.com, nor an IP address.")
    return name


def normalize_reachable_server(text: str) -> str:
    """As normalize_server(), for a server that the portal connects to.

    An address that is never allowed raises ValidationError.
    """
    server = normalize_server(text)
    try:
        ip = ipaddress.ip_address(server)
    except ValueError:  # a name is checked later, when it has been resolved
        return server
    if is_never_allowed(ip):
        raise ValidationError(f"The portal never connects to {server}. Enter the host name or IP address of a server.")
    return server


def normalize_ehlo_name(text: str) -> str:
    """As normalize_server(), but an IP address raises ValidationError."""
    name = normalize_server(text)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name
    raise ValidationError("Enter a host name, such as portal.example.com: servers refuse an IP address here.")


def _refuse_what_is_not_a_host(text: str) -> None:
    shown = printable(text)
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValidationError(f"“{shown}” contains a space or a line break. Enter one host name or IP address.")
    if "://" in text or "/" in text:
        raise ValidationError(f"“{shown}” looks like a URL. Enter only the host name, such as smtp.example.com.")
    if "@" in text:
        raise ValidationError(f"“{shown}” contains a username. Enter only the host name here, and username and password below.")
    if text.startswith("[") or (re.search(r":\d*\Z", text) and text.count(":") == 1):
        raise ValidationError(f"“{shown}” contains a port or brackets. Enter only the host; the port has its own field.")


def is_loopback(server: str) -> bool:
    """Whether `server` is this machine, so that nothing crosses a network."""
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return server == "localhost"


def normalize_token_url(text: str) -> str:
    """The URL of a token server as it is stored, with its host as an A-label.

    It must be https, or http to this machine while DEBUG is on. Raises ValidationError.
    """
    text = text.strip()
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise ValidationError("This isn't a URL. Enter one such as https://login.example.com/oauth2/token.") from error
    if "/TENANT/" in text or "/<tenant>/" in text:
        raise ValidationError("Replace TENANT with your tenant ID.")
    if not f"{url.path}{url.query}".isascii() or not text.isprintable() or " " in text or not host or port == 0:
        raise ValidationError("Enter a URL such as https://login.example.com/oauth2/token.")
    if url.username or url.password or url.fragment:
        raise ValidationError("The URL must not contain a username, a password or a fragment.")
    if url.scheme != "https" and not (settings.DEBUG and url.scheme == "http" and is_loopback(host)):
        raise ValidationError("The URL must start with https://, so that the client secret is encrypted on its way.")
    if port == 25:
        raise ValidationError("Port 25 is for mail servers. A token server usually has port 443.", code="port_25")
    server = normalize_reachable_server(host)
    if not text.isascii():
        text = url._replace(netloc=f"{server}:{port}" if port else server).geturl()
    if len(text) > _TOKEN_URL_MAX_LENGTH:
        raise ValidationError(f"Enter a URL of at most {_TOKEN_URL_MAX_LENGTH} characters.")
    return text


def validate_ca_certificate(pem: str) -> None:
    """Check that PEM text holds at least one certificate that OpenSSL can read."""
    if not pem:
        return
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, TypeError, ValueError) as error:  # TypeError: not even ASCII
        raise ValidationError("This isn't a certificate in PEM form. It starts with -----BEGIN CERTIFICATE-----.") from error


def certificate_fingerprints(pem: str) -> str:
    """The SHA-256 fingerprint of each certificate, by which people recognize it."""
    ders = (ssl.PEM_cert_to_DER_cert(certificate) for certificate in _CERTIFICATE.findall(pem))
    return ", ".join(f"SHA-256 {hashlib.sha256(der).hexdigest()}" for der in ders)


def normalize_domains(text: str) -> str:
    """The domains in A-label form, one per line.

    In `text` they are separated by commas, spaces or line breaks. `*` means any domain, `*.acme.example` every domain below
    acme.example.
    """
    names = [name for name in re.split(r"[\s,;]+", text) if name]
    return "\n".join(dict.fromkeys(name if name == "*" else _normalize_domain(name.removeprefix("@")) for name in names))


def _normalize_domain(name: str) -> str:
    below = "*." if name.startswith("*.") else ""
    return below + normalize_server(name.removeprefix(below))


def is_among(domain: str, names: Collection[str]) -> bool:
    """Whether `names` from normalize_domains() include `domain` (in A-label form)."""
    return "*" in names or domain in names or any(domain.endswith(name[1:]) for name in names if name.startswith("*."))
