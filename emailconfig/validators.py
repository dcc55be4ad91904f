"""Checks on the single values of SMTP settings; each raises ValidationError with a reason and what to do."""

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
    """A TCP port for mail: 1 to 65535, and never 25."""
    if port == 25:
        raise ValidationError(PORT_25_REFUSED, code="port_25")
    if not 1 <= port <= 65535:
        raise ValidationError("A port is a number from 1 to 65535. The usual one for sending mail is 587.", code="port_range")


def normalize_server(text: str) -> str:
    """The server as it is stored: an IP address, or a host name in A-label form and lower case (RFC 5890).

    Raises ValidationError for a URL, a port, user information, white space, or what can't be a host name.
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
    """As normalize_server, for a server that is connected to: an address that is never allowed is refused at once."""
    server = normalize_server(text)
    try:
        ip = ipaddress.ip_address(server)
    except ValueError:  # a name: decided on what it resolves to
        return server
    if is_never_allowed(ip):
        raise ValidationError(f"The portal never connects to {server}. Enter the host name or IP address of a server.")
    return server


def normalize_ehlo_name(text: str) -> str:
    """A host name as normalize_server() stores it. Raises ValidationError, also for an IP address."""
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
        raise ValidationError(f"“{shown}” looks like a URL. Enter the host name alone, such as smtp.example.com.")
    if "@" in text:
        raise ValidationError(f"“{shown}” contains a user name. Enter the host name alone; user name and password go below.")
    if text.startswith("[") or (re.search(r":\d*\Z", text) and text.count(":") == 1):
        raise ValidationError(f"“{shown}” contains a port or brackets. Enter the host alone; the port has its own field.")


def is_loopback(server: str) -> bool:
    """Whether `server` names this machine, so that nothing crosses a network."""
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return server == "localhost"


def normalize_token_url(text: str) -> str:
    """Where tokens are asked for: https, or http to this machine while DEBUG is on. Raises ValidationError.

    An international host is stored as its A-label.
    """
    text = text.strip()
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise ValidationError("This isn't a URL.") from error
    if "/TENANT/" in text or "/<tenant>/" in text:
        raise ValidationError("Put your tenant's ID in the place of TENANT.")
    if not f"{url.path}{url.query}".isascii() or not text.isprintable() or " " in text or not host or port == 0:
        raise ValidationError("Enter a URL such as https://login.example.com/oauth2/token.")
    if url.username or url.password or url.fragment:
        raise ValidationError("The URL must hold no user name, no password and no fragment.")
    if url.scheme != "https" and not (settings.DEBUG and url.scheme == "http" and is_loopback(host)):
        raise ValidationError("The URL starts with https://, so that nobody can read the client secret on its way.")
    if port == 25:
        raise ValidationError("Port 25 is for mail servers. A token server usually has port 443.", code="port_25")
    server = normalize_reachable_server(host)
    if not text.isascii():
        text = url._replace(netloc=f"{server}:{port}" if port else server).geturl()
    if len(text) > _TOKEN_URL_MAX_LENGTH:
        raise ValidationError(f"Enter a URL of at most {_TOKEN_URL_MAX_LENGTH} characters.")
    return text


def validate_ca_certificate(pem: str) -> None:
    """PEM text with at least one certificate that OpenSSL can read."""
    if not pem:
        return
    try:
        ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, TypeError, ValueError) as error:  # TypeError: not even ASCII
        raise ValidationError("This isn't a certificate in PEM form. It starts with -----BEGIN CERTIFICATE-----.") from error


def certificate_fingerprints(pem: str) -> str:
    """By which a person knows the certificates again: the SHA-256 of each."""
    ders = (ssl.PEM_cert_to_DER_cert(certificate) for certificate in _CERTIFICATE.findall(pem))
    return ", ".join(f"SHA-256 {hashlib.sha256(der).hexdigest()}" for der in ders)


def normalize_domains(text: str) -> str:
    """Domains separated by commas, spaces or lines, each in A-label form, one per line.

    `*` stands for any domain, `*.acme.example` for every domain below acme.example.
    """
    names = [name for name in re.split(r"[\s,;]+", text) if name]
    return "\n".join(dict.fromkeys(name if name == "*" else _normalize_domain(name.removeprefix("@")) for name in names))


def _normalize_domain(name: str) -> str:
    below = "*." if name.startswith("*.") else ""
    return below + normalize_server(name.removeprefix(below))


def is_among(domain: str, names: Collection[str]) -> bool:
    """Whether normalize_domains' `names` stand for this domain, itself in A-label form."""
    return "*" in names or domain in names or any(domain.endswith(name[1:]) for name in names if name.startswith("*."))
