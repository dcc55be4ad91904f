"""Which addresses a stage's server may have: the portal is no scanner of the network it stands in.

Decided after resolution, on every address that a name has; the connection then goes to these very addresses, so that a
name can't lead elsewhere a moment later. What may be reached stands in docs/reference/settings.md.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

RESOLVE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
# All addresses of a name share it, so that trying them doesn't use up the time for the whole connection.
REACH_SECONDS = 20.0
# A refusal takes this long whatever the name is, so that it tells nothing about the network inside.
_REFUSAL_SECONDS = 1.0
_MOST_ADDRESSES = 6

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where clouds hand out credentials to whoever asks from inside, beside link-local addresses, which are refused anyway.
_METADATA = frozenset(
    ipaddress.ip_address(ip)
    for ip in (
        "169.254.169.254",
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # and its EKS
        "fd20:ce::254",  # Google over IPv6
        "168.63.129.16",  # Azure's agent
        "100.100.100.200",  # Alibaba
    )
)
# IPv6 addresses that stand for an IPv4 address (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class AddressRefused(Exception):
    """The portal may not connect there. Says no more than that, whatever the address is."""


class NameServersSilent(Exception):
    """No answer from the name servers in time."""


@dataclass(frozen=True)
class Address:
    """One resolved address with its port: `family` and `sockaddr` are what a socket wants."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def ip(self) -> IpAddress:
        return ipaddress.ip_address(str(self.sockaddr[0]).partition("%")[0])

    @property
    def is_ipv6(self) -> bool:
        return self.family == socket.AF_INET6

    def __str__(self) -> str:
        return f"[{self.ip}]" if self.is_ipv6 else str(self.ip)


def resolve(host: str, port: int) -> list[Address]:
    """All addresses of `host`, each of them allowed. Raises OSError, NameServersSilent, AddressRefused."""
    started = time.monotonic()
    addresses = [Address(family, sockaddr) for family, sockaddr in _looked_up(host, port)]
    if not all(is_allowed(address.ip) for address in addresses):
        time.sleep(max(0.0, started + _REFUSAL_SECONDS - time.monotonic()))
        raise AddressRefused
    return addresses


def reach(addresses: list[Address]) -> socket.socket:
    """A connection to the first address that answers. Raises what the last one said that there is a way to, an OSError."""
    tried = addresses[:_MOST_ADDRESSES]
    trouble = OSError(errno.EADDRNOTAVAIL, "The name has no address")
    for address in tried:
        try:
            return _connected(address, min(CONNECT_SECONDS, REACH_SECONDS / len(tried)))
        except OSError as error:
            if has_no_route(trouble) or not has_no_route(error):
                trouble = error
    raise trouble


def _connected(address: Address, seconds: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def has_no_route(error: OSError) -> bool:
    """Also where this machine doesn't speak the address's protocol at all: IPv6 can be switched off."""
    return error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def is_allowed(ip: IpAddress) -> bool:
    """Public and private addresses are; loopback in DEBUG or when listed; link-local, metadata and the like never."""
    return all(_is_allowed_itself(one) for one in (ip, *_embedded(ip)))


def _is_allowed_itself(ip: IpAddress) -> bool:
    if ip in _METADATA or ip.is_link_local or ip.is_multicast or ip.is_unspecified or _in(ip, settings.SMTP_DENIED_NETWORKS):
        return False
    if _in(ip, settings.SMTP_ALLOWED_NETWORKS):
        return True
    return settings.DEBUG if ip.is_loopback else not ip.is_reserved or ip in _NAT64


def _in(ip: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    return any(ip in network for network in networks)


def _embedded(ip: IpAddress) -> list[IpAddress]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    found: list[IpAddress | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _looked_up(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """getaddrinfo, which knows no time limit of its own."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)

    thread = threading.Thread(target=ask, name="resolving", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    if not answers:
        raise NameServersSilent
    if isinstance(answers[0], UnicodeError):
        raise socket.gaierror(socket.EAI_NONAME, "Not a name that can be looked up") from answers[0]
    if isinstance(answers[0], Exception):
        raise answers[0]
    return [(family, sockaddr) for family, _, _, _, sockaddr in answers[0]]
